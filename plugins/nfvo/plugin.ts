import { join } from 'node:path';
import { OperationOccurrenceService } from '../../gen/nfv/operation/v1/operation_occurrence_service_pb.js';
import { VnfLcmService } from '../../gen/nfv/vnf_lcm/v1/vnf_lcm_service_pb.js';
import { PackageArchiveService } from '../../gen/nfv/vnf_snapshot_package/v1/package_archive_pb.js';
import { VnfSnapshotPackageService } from '../../gen/nfv/vnf_snapshot_package/v1/vnf_snapshot_package_pb.js';
import { invalidArgument } from '../../sdk/errors.ts';
import { definePlugin } from '../../sdk/plugin.ts';
import { openSqliteStore } from '../../sdk/records/sqlite-store.ts';
import { Approvals } from './approvals.ts';
import { grantingService } from './granting.ts';
import { Grants } from './grants.ts';
import { nsLcmService } from './ns-lcm.ts';
import { parsePolicy } from './policy.ts';
import { proxy } from './proxy.ts';
import { resourceProxies } from './resources.ts';

/** The configuration of an NFVO: the plugin instances it works with, and its granting policy. */
export type NfvoConfig = { vnfm: string; vim: string; policy?: unknown };

/**
 * The orchestrator: grants operations by policy, offers network services and the VNFM's package interface to the OSS/BSS,
 * and the VIM's interfaces to a VNFM in indirect resource management mode.
 */
export const nfvoPlugin = definePlugin({
  name: 'nfvo',
  role: 'nfvo',
  version: '0.1.0',
  start: async (context) => {
    const { vnfm, vim, policy: given } = (context.config ?? {}) as Partial<NfvoConfig>;
    if (!vnfm || !vim) {
      throw invalidArgument('CONFIG_INVALID', 'nfvo: vnfm and vim must name plugin instances');
    }
    const { clock, random, logger } = context;
    const store = openSqliteStore({ path: join(context.dataFolder, 'nfvo.db'), clock });
    const packages = context.client(VnfSnapshotPackageService, { target: vnfm });
    const archives = context.client(PackageArchiveService, { target: vnfm });
    const operations = context.client(OperationOccurrenceService, { target: vnfm });
    const lcm = context.client(VnfLcmService, { target: vnfm });
    const grants = new Grants(store, clock);
    const policy = parsePolicy(given);
    const approvals = new Approvals(store, clock);
    const facts = { lcm, packages, operations, grants, clock };
    return {
      services: [
        grantingService({ policy, approvals, facts, vim, random, logger }),
        ...resourceProxies({ context, vims: [vim], policy, grants, logger }),
        nsLcmService({ lcm, store, clock, random, logger }),
        proxy(VnfSnapshotPackageService, packages, logger),
        proxy(PackageArchiveService, archives, logger),
        proxy(OperationOccurrenceService, operations, logger),
      ],
      stop: () => store.close(),
    };
  },
});

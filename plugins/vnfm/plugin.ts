import { join } from 'node:path';
import { VnfLcmService } from '../../gen/nfv/vnf_lcm/v1/vnf_lcm_service_pb.js';
import { PackageArchiveService } from '../../gen/nfv/vnf_snapshot_package/v1/package_archive_pb.js';
import { VnfSnapshotPackageService } from '../../gen/nfv/vnf_snapshot_package/v1/vnf_snapshot_package_pb.js';
import { OperationEngine } from '../../sdk/operations/engine.ts';
import { operationOccurrenceService } from '../../sdk/operations/service.ts';
import { definePlugin } from '../../sdk/plugin.ts';
import { openSqliteStore } from '../../sdk/records/sqlite-store.ts';
import { RequestIds } from '../../sdk/request-ids.ts';
import { implement, type ServiceImplementation } from '../../sdk/server.ts';
import { ArchiveShelf } from './archives/shelf.ts';
import { sweeper } from './archives/sweep.ts';
import { faultWatch } from './automation/fault-watch.ts';
import { Indicators } from './automation/indicators.ts';
import { OwnOperations } from './automation/own-operations.ts';
import { powerOffSnapshots } from './automation/power-off-snapshots.ts';
import { parseConfig } from './config.ts';
import { LateThaws } from './late-thaw.ts';
import { NotificationHub } from './notification/hub.ts';
import { notificationService } from './notification/service.ts';
import { connectPeers } from './peers.ts';
import { procedures } from './procedures/all.ts';
import { emDataService } from './services/em-data.ts';
import { healHandler } from './services/heal.ts';
import { indicatorService } from './services/indicators.ts';
import { packageArchiveHandlers } from './services/package-archives.ts';
import { packageTransferHandlers } from './services/package-transfers.ts';
import { packageHandlers } from './services/packages.ts';
import { snapshotOperationHandlers } from './services/snapshot-operations.ts';
import { vnfInstanceHandlers } from './services/vnf-instances.ts';
import { vnfOperationHandlers } from './services/vnf-operations.ts';
import { vnfSnapshotHandlers } from './services/vnf-snapshots.ts';
import type { Vnfm, VnfmServices } from './vnfm.ts';

/**
 * The VNF manager: the life cycle of VNFs, their snapshots and the packages of these (GR NFV-TST
 * 005 clause 7.2.2). It works through the VIM and the repository, with a grant of the NFVO, and
 * tells the VNFs themselves.
 */
export const vnfmPlugin = definePlugin({
  name: 'vnfm',
  role: 'vnfm',
  version: '0.1.0',
  dependsOn: ['vim', 'repository', 'nfvo'],
  start: async (context) => {
    const { clock, random, logger } = context;
    const config = parseConfig(context.config);
    const store = openSqliteStore({ path: join(context.dataFolder, 'vnfm.db'), clock });
    const peers = connectPeers(context, config);
    const lateThaws = new LateThaws({ store, peers, clock, logger });
    const vnfm: Vnfm = {
      config,
      transferFolder: join(context.dataFolder, 'transfers'),
      shelf: new ArchiveShelf({
        ...{ folder: join(context.dataFolder, 'archives'), store, clock, logger, config },
      }),
      store,
      peers,
      hub: new NotificationHub(store, clock),
      indicators: new Indicators(clock),
      own: new OwnOperations(),
      clock,
      random,
      logger,
      epoch: random.uuid(),
    };
    const definitions = procedures(vnfm);
    const engine = new OperationEngine({ store, clock, random, logger, definitions });
    const all: VnfmServices = { ...vnfm, engine, requests: new RequestIds(clock) };
    vnfm.own.bind(all, lifeCycleOf(all));
    // What a crash left open goes on at once: nobody shall stay held longer than needed.
    await engine.start();
    lateThaws.start();
    const automation = [faultWatch(vnfm), powerOffSnapshots(vnfm), sweeper(vnfm)];
    for (const each of automation) each.start();
    return {
      services: services(all),
      stop: async () => {
        vnfm.hub.stop();
        await Promise.all(automation.map((each) => each.stop()));
        await lateThaws.stop();
        await engine.stop();
        await store.close();
      },
    };
  },
});

/** What the VNFM also does by itself. */
function lifeCycleOf(vnfm: VnfmServices) {
  return {
    ...vnfOperationHandlers(vnfm),
    ...snapshotOperationHandlers(vnfm),
    healVnf: healHandler(vnfm),
  };
}

function services(vnfm: VnfmServices): ServiceImplementation[] {
  const { logger } = vnfm;
  return [
    implement(
      VnfLcmService,
      { ...vnfInstanceHandlers(vnfm), ...vnfSnapshotHandlers(vnfm), ...lifeCycleOf(vnfm) },
      { logger },
    ),
    implement(
      VnfSnapshotPackageService,
      { ...packageHandlers(vnfm), ...packageTransferHandlers(vnfm) },
      { logger },
    ),
    emDataService(vnfm),
    implement(PackageArchiveService, packageArchiveHandlers(vnfm), { logger }),
    notificationService(vnfm),
    indicatorService(vnfm),
    operationOccurrenceService(vnfm.engine),
  ];
}

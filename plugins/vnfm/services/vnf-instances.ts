import { create } from '@bufbuild/protobuf';
import {
  InstantiationState,
  type VnfInstance,
  VnfInstanceSchema,
} from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import {
  CreateVnfIdentifierRequestSchema,
  type VnfLcmService,
} from '../../../gen/nfv/vnf_lcm/v1/vnf_lcm_service_pb.js';
import { alreadyExists } from '../../../sdk/errors.ts';
import type { Transaction } from '../../../sdk/records/record-store.ts';
import type { Handlers } from '../../../sdk/server.ts';
import { newIdentifier } from '../identifiers.ts';
import { requireRecord, unknownVnf, vnfInstances } from '../records.ts';
import { checkFree } from '../usage.ts';
import { checkVnfd } from '../vnfd/validate.ts';
import type { VnfmServices } from '../vnfm.ts';
import { idempotent } from './accepting.ts';
import { fillChannels } from './channels.ts';
import { readAll, select } from './listing.ts';
import { requireState, vnfUse } from './vnf-state.ts';

/** Left out of lists unless asked for: it is as long as all the rest. */
const excludedByDefault = ['vnfd'];

type LcmHandlers = Handlers<typeof VnfLcmService>;

/** The identifiers of VNF instances: making, reading and deleting them. */
export function vnfInstanceHandlers(vnfm: VnfmServices): LcmHandlers {
  const { store, requests, random } = vnfm;
  return {
    createVnfIdentifier: async (request, context) => {
      const vnfd = request.vnfd!;
      checkVnfd(vnfd);
      const repeatable = idempotent(CreateVnfIdentifierRequestSchema, request, context);
      const id = await store.transaction(async (tx) => {
        const earlier = await requests.earlier(tx, repeatable);
        if (earlier !== undefined) return earlier as string;
        await checkName(tx, request.vnfInstanceName);
        const vnf = create(VnfInstanceSchema, {
          id: newIdentifier('vnf', random),
          vnfInstanceName: request.vnfInstanceName,
          vnfInstanceDescription: request.vnfInstanceDescription,
          vnfdId: vnfd.vnfdId,
          vnfProvider: vnfd.vnfProvider,
          vnfProductName: vnfd.vnfProductName,
          vnfSoftwareVersion: vnfd.vnfSoftwareVersion,
          vnfdVersion: vnfd.vnfdVersion,
          instantiationState: InstantiationState.NOT_INSTANTIATED,
          metadata: request.metadata,
          vnfd,
        });
        await tx.collection(vnfInstances).insert(vnf.id, vnf);
        await requests.remember(tx, repeatable, vnf.id);
        return vnf.id;
      });
      return { vnfInstance: await readVnf(vnfm, id) };
    },
    deleteVnfIdentifier: async ({ vnfInstanceId }) => {
      await store.transaction(async (tx) => {
        const { value } = await requireRecord(tx, vnfInstances, vnfInstanceId, unknownVnf);
        await checkFree(tx, vnfUse(vnfInstanceId));
        requireState(value, InstantiationState.NOT_INSTANTIATED);
        await tx.collection(vnfInstances).delete(vnfInstanceId);
      });
      await vnfm.hub.forget(vnfInstanceId);
      vnfm.indicators.forget(vnfInstanceId);
      return {};
    },
    queryVnf: async (request) => {
      const all = await readAll(store, vnfInstances);
      const { items, nextPageToken } = select(VnfInstanceSchema, all, request, excludedByDefault);
      await fillChannels(vnfm, items);
      return { vnfInstances: items, nextPageToken };
    },
  };
}

async function readVnf(vnfm: VnfmServices, id: string): Promise<VnfInstance> {
  const { value, etag } = await requireRecord(vnfm.store, vnfInstances, id, unknownVnf);
  value.etag = etag;
  return value;
}

async function checkName(tx: Transaction, name: string): Promise<void> {
  if (name === '') return;
  let after: string | undefined;
  do {
    const page = await tx.collection(vnfInstances).list({ ...(after !== undefined && { after }) });
    const same = page.records.find(({ value }) => value.vnfInstanceName === name);
    if (same) {
      const text = `VNF "${same.id}" has the name "${name}" already; choose another`;
      throw alreadyExists('VNF_NAME_TAKEN', text, { vnf_instance_id: same.id, name });
    }
    after = page.next;
  } while (after !== undefined);
}

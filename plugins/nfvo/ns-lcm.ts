import { create, toBinary } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import {
  CreateNsIdentifierRequestSchema,
  type NsInstance,
  NsInstanceSchema,
  NsLcmService,
  type UpdateNsRequest,
} from '../../gen/nfv/ns_lcm/v1/ns_lcm_service_pb.js';
import type { VnfLcmService } from '../../gen/nfv/vnf_lcm/v1/vnf_lcm_service_pb.js';
import type { Client } from '../../sdk/client.ts';
import {
  failedPrecondition,
  invalidArgument,
  notFound,
  resourceExhausted,
} from '../../sdk/errors.ts';
import { parseFilter } from '../../sdk/filter.ts';
import type { Clock } from '../../sdk/ports/clock.ts';
import type { Logger } from '../../sdk/ports/logger.ts';
import type { Random } from '../../sdk/ports/random.ts';
import {
  messageCollection,
  type RecordStore,
  recordPageMax,
} from '../../sdk/records/record-store.ts';
import { RequestIds } from '../../sdk/request-ids.ts';
import { type HandlerContext, implement } from '../../sdk/server.ts';
import { passedOn } from './proxy.ts';

const services = messageCollection('ns-instances', NsInstanceSchema);
/** One page of the records holds them all. */
export const nsInstancesMax = recordPageMax;

export type NsLcmParts = {
  /** The VNFM, on Or-Vnfm. */
  lcm: Client<typeof VnfLcmService>;
  store: RecordStore;
  clock: Clock;
  random: Random;
  logger: Logger;
};

/** NS lifecycle management as far as snapshots need it (GR NFV-TST 005 clause 7.5.8). */
export function nsLcmService(parts: NsLcmParts) {
  const { lcm, store, clock, random, logger } = parts;
  const requests = new RequestIds(clock);
  return implement(
    NsLcmService,
    {
      createNsIdentifier: async (request, context) => {
        const { requestId, nsInstanceName, nsInstanceDescription, vnfInstanceIds } = request;
        for (const id of vnfInstanceIds) await requireVnf(lcm, id, context);
        const repeatable = {
          ...{ id: requestId, method: CreateNsIdentifierRequestSchema.typeName },
          body: toBinary(CreateNsIdentifierRequestSchema, request),
          caller: `${context.caller.role}/${context.caller.identity}`,
        };
        const id = await store.transaction(async (tx) => {
          const earlier = await requests.earlier(tx, repeatable);
          if (earlier !== undefined) return earlier as string;
          if ((await tx.collection(services).count()) >= nsInstancesMax) throw tooMany();
          const instance = create(NsInstanceSchema, {
            ...{ id: `ns-${random.uuid().slice(0, 8)}`, nsInstanceName, nsInstanceDescription },
            vnfInstanceIds: [...new Set(vnfInstanceIds)],
            creationTime: timestampFromDate(clock.now()),
          });
          await tx.collection(services).insert(instance.id, instance);
          await requests.remember(tx, repeatable, instance.id);
          return instance.id;
        });
        return { nsInstance: await requireNs(store, id) };
      },
      queryNs: async ({ filter }) => {
        const matches = parseFilter(NsInstanceSchema, filter);
        const { records } = await store.collection(services).list({ order: 'newest' });
        return { nsInstances: records.map(({ value }) => value).filter(matches) };
      },
      updateNs: async (request, context) => {
        const instance = await requireNs(store, request.nsInstanceId);
        const { $typeName: _, ...answer } = await update(lcm, instance, request, context);
        return answer;
      },
      deleteNsIdentifier: async ({ nsInstanceId }) => {
        if (await store.collection(services).delete(nsInstanceId)) return {};
        throw unknownNs(nsInstanceId);
      },
    },
    { logger },
  );
}

async function update(
  lcm: NsLcmParts['lcm'],
  instance: NsInstance,
  { update: wanted }: UpdateNsRequest,
  context: HandlerContext,
) {
  switch (wanted.case) {
    case 'createVnfSnapshot':
      requireMember(instance, wanted.value.vnfInstanceId);
      return await lcm.createVnfSnapshot(wanted.value, passedOn(context));
    case 'revertToVnfSnapshot':
      requireMember(instance, wanted.value.vnfInstanceId);
      return await lcm.revertToVnfSnapshot(wanted.value, passedOn(context));
    case 'deleteVnfSnapshotInfo': {
      const filter = `(eq,id,'${wanted.value.vnfSnapshotInfoId.replaceAll("'", "''")}')`;
      const found = await lcm.queryVnfSnapshotInfo({ filter }, passedOn(context));
      const vnf = found.vnfSnapshotInfos[0]?.vnfSnapshot?.vnfInstanceId;
      // What is not there, or of no VNF yet, the VNFM has the right words for.
      if (vnf !== undefined && vnf !== '') requireMember(instance, vnf);
      return await lcm.deleteVnfSnapshotInfo(wanted.value, passedOn(context));
    }
    default: {
      const text =
        'name one update: create_vnf_snapshot, revert_to_vnf_snapshot or delete_vnf_snapshot_info';
      throw invalidArgument('UPDATE_MISSING', text, {}, [
        { field: 'update', description: 'is required' },
      ]);
    }
  }
}

async function requireVnf(lcm: NsLcmParts['lcm'], id: string, context: HandlerContext) {
  const filter = `(eq,id,'${id.replaceAll("'", "''")}')`;
  const { vnfInstances } = await lcm.queryVnf({ filter }, passedOn(context));
  if (vnfInstances.length > 0) return;
  throw notFound('VNF_UNKNOWN', `there is no VNF instance "${id}"`, { vnf_instance_id: id });
}

function requireMember({ id, vnfInstanceIds }: NsInstance, vnf: string): void {
  if (vnfInstanceIds.includes(vnf)) return;
  const text = `VNF "${vnf}" is not part of network service "${id}" (${vnfInstanceIds.join(', ')})`;
  throw failedPrecondition('VNF_NOT_IN_NS', text, { ns_instance_id: id, vnf_instance_id: vnf });
}

async function requireNs(store: RecordStore, id: string): Promise<NsInstance> {
  const found = await store.collection(services).get(id);
  if (found) return found.value;
  throw unknownNs(id);
}

function unknownNs(id: string) {
  return notFound('NS_UNKNOWN', `there is no network service "${id}"`, { ns_instance_id: id });
}

function tooMany() {
  const text = `there are ${nsInstancesMax} network services; delete one first`;
  return resourceExhausted('TOO_MANY_NS', text, { limit: String(nsInstancesMax) });
}

import { create } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import {
  type AttachEmDataRequest,
  EmDataService,
} from '../../../gen/nfv/vnf_lcm/v1/em_data_service_pb.js';
import {
  type EmDataFile,
  EmDataFileSchema,
  SnapshotAvailability,
  type VnfSnapshot,
  type VnfSnapshotInfo,
} from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { alreadyExists, notFound, resourceExhausted } from '../../../sdk/errors.ts';
import { failpoint } from '../../../sdk/failpoint.ts';
import type { Transaction } from '../../../sdk/records/record-store.ts';
import { implement } from '../../../sdk/server.ts';
import { contentOf, excessOf, forgetContent, keepContents, sha256 } from '../em-data.ts';
import { notAvailable } from '../procedures/availability.ts';
import { requireRecord, unknownSnapshot, vnfSnapshots } from '../records.ts';
import { checkFree } from '../usage.ts';
import type { VnfmServices } from '../vnfm.ts';
import { snapshotUse } from './snapshot-operations.ts';

/** TR 32.842, VNF snapshot capture, step 8: the EM adds its own information; reading it back is ours. */
export function emDataService({ store, clock, logger }: VnfmServices) {
  return implement(
    EmDataService,
    {
      attachEmData: async (request) => {
        const emData = await store.transaction((tx) => attach(tx, request, clock.now()));
        return { emData };
      },
      listEmData: async ({ vnfSnapshotInfoId }) => {
        return { emData: (await whole(store, vnfSnapshotInfoId)).content.emData };
      },
      readEmData: ({ vnfSnapshotInfoId: id, name }) =>
        store.transaction(async (tx) => {
          const emData = fileOf((await whole(tx, id)).content, id, name);
          return { emData, content: await contentOf(tx, id, emData) };
        }),
      removeEmData: ({ vnfSnapshotInfoId: id, name }) =>
        store.transaction(async (tx) => {
          const { info, content } = await changeable(tx, id);
          const gone = fileOf(content, id, name);
          content.emData = content.emData.filter((file) => file !== gone);
          await forgetContent(tx, id, name);
          await tx.collection(vnfSnapshots).update(id, info);
          return {};
        }),
    },
    { logger },
  );
}

async function attach(
  tx: Transaction,
  { vnfSnapshotInfoId: id, name, mediaType, content: bytes }: AttachEmDataRequest,
  now: Date,
): Promise<EmDataFile> {
  const { info, content } = await changeable(tx, id);
  const file = create(EmDataFileSchema, {
    name,
    sizeBytes: BigInt(bytes.length),
    checksum: { algorithm: 'SHA-256', hash: sha256(bytes) },
    mediaType: mediaType || 'application/octet-stream',
    attachTime: timestampFromDate(now),
  });
  const before = content.emData.find((other) => other.name === name);
  if (before) return repeated(id, before, file);
  content.emData.push(file);
  const excess = excessOf(content.emData);
  if (excess) {
    const text = `with "${name}", VNF snapshot "${id}" would have ${excess} of the EM; remove some first`;
    throw resourceExhausted('EM_DATA_FULL', text, { vnf_snapshot_info_id: id, name });
  }
  await keepContents(tx, id, new Map([[name, bytes]]));
  // The content is written and the record is not: a crash here must leave neither.
  await failpoint('vnfm.em-data.content');
  await tx.collection(vnfSnapshots).update(id, info);
  await failpoint('vnfm.em-data.record');
  return file;
}

function repeated(id: string, before: EmDataFile, file: EmDataFile): EmDataFile {
  const same = before.checksum?.hash === file.checksum?.hash && before.mediaType === file.mediaType;
  if (same) return before;
  const text = `VNF snapshot "${id}" has "${before.name}" with another content; choose another name, or remove it first`;
  throw alreadyExists('EM_DATA_EXISTS', text, { vnf_snapshot_info_id: id, name: before.name });
}

/** A snapshot with content. FAILED_PRECONDITION with reason SNAPSHOT_NOT_AVAILABLE. */
async function whole(
  tx: Transaction,
  id: string,
): Promise<{ info: VnfSnapshotInfo; content: VnfSnapshot }> {
  const { value: info } = await requireRecord(tx, vnfSnapshots, id, unknownSnapshot);
  const { vnfSnapshot, availability } = info;
  if (vnfSnapshot && availability === SnapshotAvailability.AVAILABLE) {
    return { info, content: vnfSnapshot };
  }
  throw notAvailable(id, `it is ${SnapshotAvailability[availability]}`);
}

/** The same, while no operation reads it: what a package gets must not change on the way. */
async function changeable(tx: Transaction, id: string) {
  const found = await whole(tx, id);
  await checkFree(tx, snapshotUse(id, 'exclusive'));
  return found;
}

function fileOf({ emData }: VnfSnapshot, id: string, name: string): EmDataFile {
  const found = emData.find((file) => file.name === name);
  if (found) return found;
  const names = emData.map((file) => file.name).join(', ') || 'none';
  const text = `VNF snapshot "${id}" has no EM data "${name}"; it has: ${names}`;
  throw notFound('EM_DATA_UNKNOWN', text, { vnf_snapshot_info_id: id, name });
}

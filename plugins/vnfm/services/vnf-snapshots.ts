import { create } from '@bufbuild/protobuf';
import {
  SnapshotAvailability,
  type VnfSnapshotInfo,
  VnfSnapshotInfoSchema,
} from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import {
  CreateVnfSnapshotInfoRequestSchema,
  type UpdateVnfSnapshotInfoRequest,
  type VnfLcmService,
} from '../../../gen/nfv/vnf_lcm/v1/vnf_lcm_service_pb.js';
import { aborted } from '../../../sdk/errors.ts';
import type { Handlers } from '../../../sdk/server.ts';
import { newIdentifier } from '../identifiers.ts';
import { notAvailable } from '../procedures/availability.ts';
import { requireRecord, unknownSnapshot, vnfSnapshots } from '../records.ts';
import type { VnfmServices } from '../vnfm.ts';
import { idempotent } from './accepting.ts';
import { withPresentAvailability } from './availability.ts';
import { readAll, select } from './listing.ts';

/** Left out of lists unless asked for. */
const excludedByDefault = [
  'capture_report',
  'vnf_snapshot/vnf_instance',
  'vnf_snapshot/vnfc_snapshots',
  'vnf_snapshot/vnfd',
  'vnf_snapshot/operational_information',
];

/** The VNF snapshot repository of the VNFM (Vnfm.008): making, reading and changing its records. */
export function vnfSnapshotHandlers(vnfm: VnfmServices): Handlers<typeof VnfLcmService> {
  const { store, requests, random } = vnfm;
  return {
    createVnfSnapshotInfo: async (request, context) => {
      const repeatable = idempotent(CreateVnfSnapshotInfoRequestSchema, request, context);
      const id = await store.transaction(async (tx) => {
        const earlier = await requests.earlier(tx, repeatable);
        if (earlier !== undefined) return earlier as string;
        const info = emptySnapshot(newIdentifier('snap', random), SnapshotAvailability.EMPTY);
        await tx.collection(vnfSnapshots).insert(info.id, info);
        await requests.remember(tx, repeatable, info.id);
        return info.id;
      });
      return { vnfSnapshotInfo: await readSnapshot(vnfm, id) };
    },
    queryVnfSnapshotInfo: async (request, { signal }) => {
      const stored = await readAll(store, vnfSnapshots);
      const all = await withPresentAvailability(vnfm, stored, signal);
      const selected = select(VnfSnapshotInfoSchema, all, request, excludedByDefault);
      return { vnfSnapshotInfos: selected.items, nextPageToken: selected.nextPageToken };
    },
    updateVnfSnapshotInfo: async (request) => {
      await store.transaction(async (tx) => {
        const id = request.vnfSnapshotInfoId;
        const { value, etag } = await requireRecord(tx, vnfSnapshots, id, unknownSnapshot);
        if (request.etag !== '' && request.etag !== etag) {
          const text = `VNF snapshot "${id}" was changed since; read it again`;
          throw aborted('ETAG_MISMATCH', text, { vnf_snapshot_info_id: id });
        }
        update(value, request);
        await tx.collection(vnfSnapshots).update(id, value, etag);
      });
      return { vnfSnapshotInfo: await readSnapshot(vnfm, request.vnfSnapshotInfoId) };
    },
  };
}

/** A snapshot resource without content. */
export function emptySnapshot(
  id: string,
  availability: SnapshotAvailability,
  vnfSnapshotPkgId = '',
): VnfSnapshotInfo {
  return create(VnfSnapshotInfoSchema, { id, availability, vnfSnapshotPkgId });
}

function update(info: VnfSnapshotInfo, request: UpdateVnfSnapshotInfoRequest): void {
  const snapshot = info.vnfSnapshot;
  if (!snapshot || info.availability !== SnapshotAvailability.AVAILABLE) {
    throw notAvailable(info.id, 'only a snapshot with content can be changed');
  }
  if (request.name !== undefined) snapshot.name = request.name;
  for (const [key, value] of Object.entries(request.userDefinedData)) {
    if (value === '') delete snapshot.userDefinedData[key];
    else snapshot.userDefinedData[key] = value;
  }
}

async function readSnapshot(vnfm: VnfmServices, id: string): Promise<VnfSnapshotInfo> {
  const { value, etag } = await requireRecord(vnfm.store, vnfSnapshots, id, unknownSnapshot);
  value.etag = etag;
  return value;
}

/** The VIM and the file paths of a VNF snapshot: TR 32.842, VNF snapshot capture, steps 5 to 7. */
import { create } from '@bufbuild/protobuf';
import {
  type InstanceSnapshot,
  InstanceSnapshotSchema,
  SnapshotImageSchema,
} from '../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import {
  type CaptureReport,
  CaptureReportSchema,
  type VnfcSnapshotInfo,
  type VnfSnapshot,
} from '../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import type { VnfmConfig } from './config.ts';

/** A snapshot as it is kept and packed: where its files lie is true of one place and one moment. */
export function withoutPlaces(snapshot: InstanceSnapshot): InstanceSnapshot {
  const images = snapshot.images.map((image) => {
    const { file: _, ...rest } = image;
    return create(SnapshotImageSchema, rest);
  });
  return create(InstanceSnapshotSchema, { ...snapshot, images });
}

/** What the VIMs have now: by VIM and snapshot id. A VIM that cannot be asked has no entry. */
export type PresentSnapshots = ReadonlyMap<string, ReadonlyMap<string, InstanceSnapshot>>;

/** The report of a snapshot from what the VIMs say of its parts. */
export function captureReport(
  snapshot: VnfSnapshot,
  present: PresentSnapshots,
  mode: VnfmConfig['resourceManagement'],
): CaptureReport {
  const vnfcs = snapshot.vnfcSnapshots.map((part) => {
    const vim = part.vimConnectionId;
    const known = present.get(vim);
    const here = known?.get(part.instanceSnapshot?.snapshotId ?? '');
    const kept = part.instanceSnapshot;
    return {
      vnfcInstanceId: part.vnfcInstanceId,
      snapshotResource: {
        ...(mode === 'direct' ? { vimConnectionId: vim } : { resourceProviderId: vim }),
        resourceId: kept?.snapshotId ?? '',
        vimLevelResourceType: kindOf(snapshot, part),
      },
      driver: here?.driver ?? kept?.driver ?? '',
      imported: here?.imported ?? kept?.imported ?? false,
      images: here?.images ?? kept?.images ?? [],
      unknownReason: reasonOf(vim, known !== undefined, here !== undefined),
    };
  });
  return create(CaptureReportSchema, { vnfcs });
}

function reasonOf(vim: string, answers: boolean, has: boolean): string {
  if (has) return '';
  return answers ? `"${vim}" does not have it any more` : `"${vim}" cannot be asked`;
}

/** The kind of driver, when the snapshot says it. */
function kindOf(snapshot: VnfSnapshot, part: VnfcSnapshotInfo): string {
  const resources = snapshot.vnfInstance?.instantiatedVnfInfo?.vnfcResourceInfo ?? [];
  const vnfc = resources.find(({ id }) => id === part.vnfcInstanceId);
  const kind = vnfc?.computeResource?.vimLevelResourceType;
  return part.instanceSnapshot?.compatibility?.hypervisor || kind || '';
}

/**
 * The same in the result of an operation, as it was when that ended: "<vnfc>/vim", "<vnfc>/snapshot"
 * and "<vnfc>/<image>" with the path of its file.
 */
export function placesOf(
  vnfcInstanceId: string,
  vim: string,
  { snapshotId, images }: InstanceSnapshot,
): [key: string, value: string][] {
  return [
    [`${vnfcInstanceId}/vim`, vim],
    [`${vnfcInstanceId}/snapshot`, snapshotId],
    ...images.map(({ name, file }): [string, string] => [
      `${vnfcInstanceId}/${name}`,
      file?.path ?? 'the driver tells no file',
    ]),
  ];
}

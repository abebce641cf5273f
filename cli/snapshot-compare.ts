import { type JsonObject, type JsonValue, toJson } from '@bufbuild/protobuf';
import { ImageRole } from '../gen/nfv/common/v1/common_pb.js';
import { ComputeState } from '../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import {
  type VnfcSnapshotInfo,
  type VnfSnapshot,
  VnfSnapshotSchema,
} from '../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import type { Vdu, Vnfd } from '../gen/nfv/vnfd/v1/vnfd_pb.js';

const bytesPerMib = 1_048_576n;

/** One thing that differs, at a path such as "gateway-0/memoryMib". Empty: it is not there. */
export type Difference = { path: string; one: string; other: string };

/**
 * What the descriptor in a snapshot configures (`one`) beside what the components were when it was taken (`other`): what
 * GR NFV-TST 005 clause 6.1.1 keeps both for. What the descriptor leaves to the driver is not compared.
 */
export function driftOf({ vnfd, vnfcSnapshots }: VnfSnapshot): Difference[] {
  if (!vnfd) return [];
  return vnfd.vdu.flatMap((vdu) => {
    const parts = vnfcSnapshots.filter(({ vduId }) => vduId === vdu.vduId);
    return parts.flatMap((part) => driftOfPart(vnfd, vdu, part));
  });
}

function driftOfPart(vnfd: Vnfd, vdu: Vdu, part: VnfcSnapshotInfo): Difference[] {
  const { instanceSnapshot: content, vnfcInstanceId } = part;
  const spec = content?.spec;
  if (!spec) return [];
  const desc = vnfd.virtualComputeDesc.find(
    ({ virtualComputeDescId: id }) => id === vdu.virtualComputeDesc,
  );
  const configured = {
    image: vdu.swImage,
    virtualCpus: desc?.virtualCpu || 1,
    // 0 is the driver's default.
    ...(desc?.virtualMemoryMib && { memoryMib: desc.virtualMemoryMib }),
    state: 'RUNNING',
    volumes: Object.fromEntries(vdu.virtualStorageDesc.map((name) => [name, 'attached'])),
    volumeBytes: configuredBytes(vnfd, part),
    guestParameters: { ...vdu.guestParameters },
    addresses: vdu.intCpd.map(({ ipAddress }) => ipAddress).filter((address) => address !== ''),
  };
  const actual = {
    image: spec.image,
    virtualCpus: spec.virtualCpus || 1,
    ...(desc?.virtualMemoryMib && { memoryMib: spec.memoryMib }),
    state: ComputeState[content.stateWhenTaken] ?? '',
    volumes: Object.fromEntries(spec.volumes.map(({ name }) => [name, 'attached'])),
    volumeBytes: Object.fromEntries(
      diskImages(part).map(({ name, sizeBytes }) => [name, String(sizeBytes)]),
    ),
    guestParameters: { ...spec.guestParameters },
    addresses: spec.interfaces.map(({ ipAddress }) => ipAddress).filter((one) => one !== ''),
  };
  return differences(configured as JsonObject, actual as JsonObject, vnfcInstanceId);
}

function diskImages({ instanceSnapshot }: VnfcSnapshotInfo) {
  return (instanceSnapshot?.images ?? []).filter(({ role }) => role === ImageRole.DISK);
}

/** Sizes that the descriptor gives, of the disks that were captured; others are those of their images. */
function configuredBytes(vnfd: Vnfd, part: VnfcSnapshotInfo): Record<string, string> {
  return Object.fromEntries(
    diskImages(part).map(({ name, sizeBytes }) => {
      const mib = vnfd.virtualStorageDesc.find(({ id }) => id === name)?.sizeOfStorageMib ?? 0n;
      return [name, String(mib === 0n ? sizeBytes : mib * bytesPerMib)];
    }),
  );
}

/** What was recorded differently in two snapshots: descriptor, VnfInfo, components, sizes. Not the bytes of the disks. */
export function recordedDifferences(one: VnfSnapshot, other: VnfSnapshot): Difference[] {
  return differences(recordOf(one), recordOf(other));
}

/** What differs between any two snapshots by their nature is left out. */
const natural = new Set([
  ...['id', 'name', 'creationStartedAt', 'creationFinishedAt', 'snapshotId', 'parentSnapshotId'],
  ...['captureTime', 'completeTime', 'metadata', 'consistency', 'etag', 'generationId'],
]);

function recordOf(snapshot: VnfSnapshot): JsonObject {
  const json = toJson(VnfSnapshotSchema, snapshot) as JsonObject;
  return without(json) as JsonObject;
}

function without(value: JsonValue): JsonValue {
  if (Array.isArray(value)) {
    const items = value.map(without);
    // By what they are called, so that one more of them is one difference.
    const keys = value.map((item) => keyOf(item));
    if (keys.every((key) => key !== undefined) && new Set(keys).size === keys.length) {
      return Object.fromEntries(items.map((item, i) => [keys[i]!, item]));
    }
    return items;
  }
  if (typeof value !== 'object' || value === null) return value;
  const kept = Object.entries(value).filter(([key]) => !natural.has(key));
  return Object.fromEntries(kept.map(([key, item]) => [key, without(item)]));
}

function keyOf(item: JsonValue): string | undefined {
  if (typeof item !== 'object' || item === null || Array.isArray(item)) return undefined;
  const key = item.id ?? item.vduId ?? item.name ?? item.volumeId ?? item.networkId;
  return typeof key === 'string' ? key : undefined;
}

/** The leaves in which two JSON values differ. */
export function differences(one: JsonValue, other: JsonValue, path = ''): Difference[] {
  if (isBranch(one) && isBranch(other)) {
    const [a, b] = [one as JsonObject, other as JsonObject];
    const keys = [...new Set([...Object.keys(a), ...Object.keys(b)])];
    return keys.flatMap((key) => {
      const below = path === '' ? key : `${path}/${key}`;
      return differences(a[key] ?? null, b[key] ?? null, below);
    });
  }
  const [before, after] = [textOf(one), textOf(other)];
  return before === after ? [] : [{ path, one: before, other: after }];
}

function isBranch(value: JsonValue): boolean {
  return typeof value === 'object' && value !== null;
}

function textOf(value: JsonValue): string {
  if (value === null) return '';
  return typeof value === 'string' ? value : JSON.stringify(value);
}

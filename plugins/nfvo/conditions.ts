/** The conditions of rules that look at more than the request. */
import { fromJson, type JsonValue } from '@bufbuild/protobuf';
import type { GrantRequest } from '../../gen/nfv/grant/v1/grant_pb.js';
import { OperationType } from '../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { type SnapshotWindow, SnapshotWindowSchema } from '../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { clockOf } from '../../sdk/windows.ts';

/** A bound of what there may be. At least one of the first two. */
export type Quota = {
  /** VNF snapshots. */
  snapshots?: number;
  /** Bytes that packages take. */
  storedBytes?: number;
  /** Counted over all VNFs with the same value of this metadata key, for example "tenant"; without it, for each VNF. */
  perMetadata?: string;
};

/** What there is in the scope of a quota. */
export type Usage = { snapshots: number; storedBytes: number };

const timePattern = /^([01][0-9]|2[0-3]):[0-5][0-9]$/;

/** Operations that a quota looks at. */
export const countedOperations: readonly OperationType[] = [
  OperationType.CREATE_SNAPSHOT,
  OperationType.CREATE_PACKAGE,
];

/** Whether a request would go beyond a quota. */
export function isExceeded(quota: Quota, usage: Usage, request: GrantRequest): boolean {
  if (request.operation === OperationType.CREATE_SNAPSHOT && quota.snapshots !== undefined) {
    return usage.snapshots + 1 > quota.snapshots;
  }
  if (request.operation === OperationType.CREATE_PACKAGE && quota.storedBytes !== undefined) {
    return usage.storedBytes + Number(request.expectedBytes ?? 0n) > quota.storedBytes;
  }
  return false;
}

/** Windows of a configuration, in the JSON form of a descriptor's. Throws Error with what is wrong. */
export function parseWindows(value: unknown): SnapshotWindow[] {
  if (!Array.isArray(value) || value.length === 0) throw new Error('must be a list of windows');
  return value.map((each) => {
    const window = fromJson(SnapshotWindowSchema, each as JsonValue);
    for (const time of [window.startTime, window.endTime]) {
      if (!timePattern.test(time)) throw new Error(`"${time}" is no time, such as "22:30"`);
    }
    if (window.startTime === window.endTime) throw new Error('a window begins and ends at once');
    clockOf(window.timeZone);
    return window;
  });
}

/** The fault of a quota of a configuration. */
export function quotaFault(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null) return 'must be an object';
  const { snapshots, storedBytes, perMetadata, ...unknown } = value as Record<string, unknown>;
  const [first] = Object.keys(unknown);
  if (first !== undefined) return `"${first}" is not known`;
  const isCount = (item: unknown) => Number.isSafeInteger(item) && (item as number) >= 0;
  if (snapshots === undefined && storedBytes === undefined) return 'needs snapshots or storedBytes';
  if (snapshots !== undefined && !isCount(snapshots)) return 'snapshots must be a whole number';
  if (storedBytes !== undefined && !isCount(storedBytes))
    return 'storedBytes must be a whole number';
  const isKey =
    perMetadata === undefined || (typeof perMetadata === 'string' && perMetadata !== '');
  return isKey ? undefined : 'perMetadata must be a key';
}

/** The fault of key-value pairs of a configuration. */
export function metadataFault(value: unknown): string | undefined {
  const isMap = typeof value === 'object' && value !== null && !Array.isArray(value);
  const isText = isMap && Object.values(value).every((item) => typeof item === 'string');
  return isText ? undefined : 'must be an object of texts';
}

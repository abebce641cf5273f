import type { MessageInitShape } from '@bufbuild/protobuf';
import { durationFromMs, timestampFromMs } from '@bufbuild/protobuf/wkt';
import { ConsistencyLevel } from '../../gen/nfv/common/v1/common_pb.js';
import type {
  ConsistencyRecordSchema,
  VnfcConsistencySchema,
} from '../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';

/**
 * What was seen of one component while a snapshot was taken. Times in milliseconds since 1970, by
 * its driver's clock.
 */
export type VnfcObservation = {
  vnfcInstanceId: string;
  /** It ran; a component that did not run changes nothing and needs no hold. */
  running: boolean;
  freeze?: { atMs: number; expiresMs: number };
  /** Why file systems were not frozen. */
  noFreezeReason: string;
  /** File systems could have been frozen but were not: an agent was silent. */
  freezeFailed: boolean;
  hold?: { atMs: number; expiresMs: number };
  captureMs: number;
  captureEndMs: number;
  /** The driver says that file systems were frozen at the capture. */
  frozenWhenCaptured: boolean;
  /** The hold was let go by us, in time. */
  releaseMs?: number;
  thawMs?: number;
};

export type Observations = {
  vnfcs: VnfcObservation[];
  /** The VNF said that it was prepared, and its promise lasted until all were captured. */
  vnfConfirmed: boolean;
  /** Why not. */
  unconfirmedReason: string;
};

type ConsistencyInit = MessageInitShape<typeof ConsistencyRecordSchema>;
type VnfcInit = MessageInitShape<typeof VnfcConsistencySchema>;

/**
 * How well the parts of a snapshot fit together; pure. A level above CRASH counts only if all
 * running components were held at one time and every hold outlived every capture. Skew is the time
 * between the first and the last hold.
 */
export function consistencyOf({
  vnfcs,
  vnfConfirmed,
  unconfirmedReason,
}: Observations): ConsistencyInit {
  const commonHold = isCommonHold(vnfcs);
  const records = vnfcs.map((vnfc) => {
    const { level, reason } = levelOf(vnfc, commonHold, vnfConfirmed, unconfirmedReason);
    return vnfcRecord(vnfc, level, reason);
  });
  const holds = vnfcs.flatMap((vnfc) => (vnfc.hold ? [vnfc.hold.atMs] : []));
  const skewMs = holds.length > 1 ? Math.max(...holds) - Math.min(...holds) : 0;
  return {
    level: Math.min(...records.map((record) => record.level ?? ConsistencyLevel.UNSPECIFIED)),
    skew: durationFromMs(skewMs),
    commonHold,
    vnfc: records,
  };
}

/**
 * True when there was a moment at which all running components were held, and every hold lasted
 * until the last capture had ended. What a driver calls the moment of capture may be the begin of
 * its hold, so the ends are compared.
 */
export function isCommonHold(vnfcs: readonly VnfcObservation[]): boolean {
  const ends = vnfcs.map((vnfc) => vnfc.captureEndMs);
  const firstCaptureMs = Math.min(...ends);
  const lastCaptureMs = Math.max(...ends);
  return vnfcs.every(({ running, hold, releaseMs }) => {
    if (!running) return true;
    if (!hold || releaseMs === undefined) return false;
    const untilMs = Math.min(hold.expiresMs, releaseMs);
    return hold.atMs <= firstCaptureMs && untilMs >= lastCaptureMs;
  });
}

function levelOf(
  vnfc: VnfcObservation,
  commonHold: boolean,
  vnfConfirmed: boolean,
  unconfirmedReason: string,
): { level: ConsistencyLevel; reason: string } {
  const crash = (reason: string) => ({ level: ConsistencyLevel.CRASH, reason });
  if (!commonHold) return crash('the components were not held together during the captures');
  const frozen = isFrozen(vnfc);
  // Where there is nothing that could freeze, the VNF's own word is all that can be had.
  if (!frozen && vnfc.freezeFailed) return crash(vnfc.noFreezeReason);
  if (vnfConfirmed) return { level: ConsistencyLevel.VNF_CONFIRMED, reason: vnfc.noFreezeReason };
  if (frozen) return { level: ConsistencyLevel.FILE_SYSTEM, reason: unconfirmedReason };
  return crash([unconfirmedReason, vnfc.noFreezeReason].filter((text) => text !== '').join('; '));
}

function isFrozen({ freeze, frozenWhenCaptured, captureMs }: VnfcObservation): boolean {
  return freeze !== undefined && frozenWhenCaptured && freeze.expiresMs >= captureMs;
}

function vnfcRecord(vnfc: VnfcObservation, level: ConsistencyLevel, reason: string): VnfcInit {
  const { freeze, hold, captureMs, releaseMs, thawMs } = vnfc;
  return {
    vnfcInstanceId: vnfc.vnfcInstanceId,
    level,
    ...(freeze && { quiesceTime: timestampFromMs(freeze.atMs) }),
    ...(hold && { holdTime: timestampFromMs(hold.atMs) }),
    captureTime: timestampFromMs(captureMs),
    ...(releaseMs !== undefined && { releaseTime: timestampFromMs(releaseMs) }),
    ...(thawMs !== undefined && { unquiesceTime: timestampFromMs(thawMs) }),
    reason,
  };
}

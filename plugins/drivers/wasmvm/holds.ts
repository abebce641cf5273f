import type { MessageInitShape } from '@bufbuild/protobuf';
import { type Duration, durationMs, timestampFromMs } from '@bufbuild/protobuf/wkt';
import type {
  HoldComputeRequest,
  HoldComputeResponseSchema,
  QuiesceComputeRequest,
  QuiesceComputeResponseSchema,
  ReleaseComputeRequest,
  ReleaseComputeResponseSchema,
  UnquiesceComputeRequest,
  UnquiesceComputeResponseSchema,
} from '../../../gen/nfv/driver/v1/driver_pb.js';
import { ComputeState } from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { type Core, computeKey } from './core.ts';
import { leaseMsMax, leaseMsMin } from './limits.ts';
import { expired } from './machine/resident.ts';
import { computeMessage, leaseMessage } from './messages.ts';
import { badField, computeState } from './refusals.ts';

/** Freezes the file systems of a running guest; the machine room keeps the deadline. */
export function quiesceCompute(
  core: Core,
  { computeId, deadline }: QuiesceComputeRequest,
): Promise<MessageInitShape<typeof QuiesceComputeResponseSchema>> {
  const duration = leaseDuration(deadline, 'deadline');
  return core.locks.run([computeKey(computeId)], async () => {
    await requireInMemory(core, computeId);
    const leaseId = core.random.uuid();
    const lease = await core.room.call('quiesce', { computeId, leaseId, durationMs: duration });
    core.watchers.notify(computeId);
    return { lease: leaseMessage(lease), frozenFileSystems: lease.frozen };
  });
}

/** Thaws the file systems. */
export function unquiesceCompute(
  core: Core,
  { computeId, leaseId }: UnquiesceComputeRequest,
): Promise<MessageInitShape<typeof UnquiesceComputeResponseSchema>> {
  return core.locks.run([computeKey(computeId)], async () => {
    if (!(await isInMemory(core, computeId))) {
      if (leaseId !== '') throw expired(leaseId);
      return { thawedFileSystems: 0 };
    }
    const { thawed } = await core.room.call('unquiesce', { computeId, leaseId });
    core.watchers.notify(computeId);
    return { thawedFileSystems: thawed };
  });
}

/** Pauses a guest for a capture; the machine room keeps the deadline. */
export function holdCompute(
  core: Core,
  { computeId, deadline }: HoldComputeRequest,
): Promise<MessageInitShape<typeof HoldComputeResponseSchema>> {
  const duration = leaseDuration(deadline, 'deadline');
  return core.locks.run([computeKey(computeId)], async () => {
    await requireInMemory(core, computeId);
    const leaseId = core.random.uuid();
    const lease = await core.room.call('hold', { computeId, leaseId, durationMs: duration });
    core.watchers.notify(computeId);
    return { lease: leaseMessage(lease) };
  });
}

/** Lets a held guest run on. */
export function releaseCompute(
  core: Core,
  { computeId, leaseId }: ReleaseComputeRequest,
): Promise<MessageInitShape<typeof ReleaseComputeResponseSchema>> {
  return core.locks.run([computeKey(computeId)], async () => {
    if (!(await isInMemory(core, computeId))) {
      if (leaseId !== '') throw expired(leaseId);
      return { releaseTime: timestampFromMs(core.clock.now().getTime()) };
    }
    const { releaseMs } = await core.room.call('release', { computeId, leaseId });
    core.watchers.notify(computeId);
    return { releaseTime: timestampFromMs(releaseMs) };
  });
}

/** Milliseconds of a deadline. INVALID_ARGUMENT outside of 1 ms to 10 min. */
export function leaseDuration(deadline: Duration | undefined, field: string): number {
  const duration = deadline ? durationMs(deadline) : 0;
  if (!(duration >= leaseMsMin && duration <= leaseMsMax)) {
    throw badField(field, `must be from ${leaseMsMin} ms to ${leaseMsMax / 60_000} min`);
  }
  return duration;
}

async function isInMemory(core: Core, computeId: string): Promise<boolean> {
  const { state } = await computeMessage(core, computeId);
  return state === ComputeState.RUNNING || state === ComputeState.PAUSED;
}

async function requireInMemory(core: Core, computeId: string): Promise<void> {
  if (!(await isInMemory(core, computeId))) {
    throw computeState(computeId, 'not in memory', 'start it first');
  }
}

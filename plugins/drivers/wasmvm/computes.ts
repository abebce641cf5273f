import { join } from 'node:path';
import { equals } from '@bufbuild/protobuf';
import { durationMs } from '@bufbuild/protobuf/wkt';
import {
  ComputeOperation,
  type CreateComputeRequest,
  type OperateComputeRequest,
  type RecoverComputeRequest,
} from '../../../gen/nfv/driver/v1/driver_pb.js';
import {
  type ComputeSpec,
  ComputeSpecSchema,
  ComputeState,
  type VirtualCompute,
} from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { failpoint } from '../../../sdk/failpoint.ts';
import { checkSpec } from './compute-spec.ts';
import {
  type Core,
  computeKey,
  generationId,
  hex,
  networkKey,
  startGuest,
  volumeKey,
  writePower,
} from './core.ts';
import { remove } from './files.ts';
import { type Compute, unknown } from './inventory.ts';
import { computesMax, gracefulMsDefault, gracefulMsMax } from './limits.ts';
import { computeMessage, recoveryData } from './messages.ts';
import { badField, computeState, idReused, tooMany } from './refusals.ts';

/** Makes a compute resource, stopped. */
export function createCompute(core: Core, request: CreateComputeRequest): Promise<VirtualCompute> {
  const { computeId } = request;
  const spec = request.spec as ComputeSpec;
  const keys = [
    computeKey(computeId),
    ...spec.volumes.map(({ volumeId }) => volumeKey(volumeId)),
    ...spec.interfaces.map(({ networkId }) => networkKey(networkId)),
  ];
  return core.locks.run(keys, async () => {
    const known = core.inventory.computes.get(computeId);
    if (known) {
      if (!equals(ComputeSpecSchema, known.requested, spec)) throw idReused('compute', computeId);
      return computeMessage(core, computeId);
    }
    if (core.inventory.computes.size >= computesMax) throw tooMany('computes', computesMax);
    const { programId, program } = await core.images.adopt(spec.image);
    checkSpec(core, spec, program);
    const compute: Compute = {
      id: computeId,
      spec,
      requested: spec,
      programId,
      program,
      power: 'off',
      reason: '',
      generation: 1,
      generationId: generationId(core, 1),
      createMs: core.clock.now().getTime(),
      incarnation: hex(core, 8),
    };
    await failpoint('wasmvm.compute.before-record');
    await core.inventory.write({ computes: [compute] });
    if (program.hasChannel) await core.channels.open(computeId);
    core.watchers.notify(computeId);
    return computeMessage(core, computeId);
  });
}

/**
 * Finds a compute resource again; guests of this driver come back with the driver by themselves.
 */
export async function recoverCompute(
  core: Core,
  request: RecoverComputeRequest,
): Promise<VirtualCompute> {
  const compute = core.inventory.compute(request.computeId);
  const handle = request.recoveryHandle;
  if (handle?.version !== 1) {
    throw badField('recovery_handle.version', 'must be 1, the only version there is');
  }
  // Another life of the same id: the guest that the caller means is gone.
  if (Buffer.compare(handle.data, recoveryData(compute)) !== 0) {
    unknown('COMPUTE_UNKNOWN', 'compute', request.computeId);
  }
  return computeMessage(core, request.computeId);
}

/** Starts, stops, pauses or resumes a compute resource. */
export function operateCompute(
  core: Core,
  request: OperateComputeRequest,
): Promise<VirtualCompute> {
  const { computeId, operation } = request;
  const graceful = request.gracefulTimeout
    ? durationMs(request.gracefulTimeout)
    : gracefulMsDefault;
  if (!(graceful >= 0 && graceful <= gracefulMsMax)) {
    throw badField('graceful_timeout', `must be from 0 to ${gracefulMsMax / 1000} s`);
  }
  return core.locks.run([computeKey(computeId)], async () => {
    const present = await computeMessage(core, computeId);
    if (operation === ComputeOperation.START) await start(core, present);
    else if (operation === ComputeOperation.STOP_GRACEFUL) await stop(core, computeId, graceful);
    else if (operation === ComputeOperation.STOP_FORCEFUL) await stop(core, computeId, undefined);
    else if (operation === ComputeOperation.PAUSE) await pause(core, present);
    else if (operation === ComputeOperation.UNPAUSE) await unpause(core, present);
    else if (operation === ComputeOperation.DISCONNECT) await setCables(core, present, false);
    else if (operation === ComputeOperation.CONNECT) await setCables(core, present, true);
    else throw badField('operation', 'is not a known one');
    core.watchers.notify(computeId);
    return computeMessage(core, computeId);
  });
}

/** Ends and forgets a compute resource; its volumes and snapshots stay. */
export function deleteCompute(core: Core, computeId: string): Promise<void> {
  return core.locks.run([computeKey(computeId)], async () => {
    if (!core.inventory.computes.has(computeId)) return;
    await core.room.call('stop', { computeId });
    await failpoint('wasmvm.compute.before-delete');
    await core.inventory.write({ deletedComputes: [computeId] });
    await core.channels.close(computeId);
    await remove(join(core.folders.consoles, `${computeId}.log`));
    core.ended.delete(computeId);
    core.watchers.notify(computeId);
  });
}

async function start(core: Core, { computeId, state }: VirtualCompute): Promise<void> {
  if (state === ComputeState.RUNNING) return;
  if (state === ComputeState.PAUSED) throw computeState(computeId, 'paused', 'unpause it instead');
  const before = core.inventory.compute(computeId);
  // The intent first: a crash after it starts the guest, which nobody was told about yet.
  core.ended.delete(computeId);
  await writePower(core, computeId, 'on');
  await failpoint('wasmvm.start.after-record');
  try {
    await startGuest(core, core.inventory.compute(computeId));
  } catch (error) {
    await writePower(core, computeId, before.power, before.reason);
    throw error;
  }
}

async function stop(core: Core, computeId: string, gracefulMs: number | undefined): Promise<void> {
  if (gracefulMs === undefined) await core.room.call('stop', { computeId });
  else await core.room.call('shutdown', { computeId, timeoutMs: gracefulMs }, gracefulMs);
  await failpoint('wasmvm.stop.before-record');
  core.ended.delete(computeId);
  await writePower(core, computeId, 'off');
}

async function pause(core: Core, { computeId, state, hold }: VirtualCompute): Promise<void> {
  if (hold) throw computeState(computeId, 'held', 'release it first');
  if (state === ComputeState.PAUSED) return;
  if (state !== ComputeState.RUNNING)
    throw computeState(computeId, 'not running', 'start it first');
  await core.room.call('pause', { computeId });
  await writePower(core, computeId, 'paused');
}

async function setCables(core: Core, present: VirtualCompute, plugged: boolean): Promise<void> {
  const { computeId, state } = present;
  if (state !== ComputeState.RUNNING && state !== ComputeState.PAUSED)
    throw computeState(computeId, 'not running', 'start it first');
  await core.room.call('setCables', { computeId, plugged });
}

async function unpause(core: Core, { computeId, state, hold }: VirtualCompute): Promise<void> {
  if (hold) throw computeState(computeId, 'held', 'release it instead');
  if (state === ComputeState.RUNNING) return;
  if (state !== ComputeState.PAUSED)
    throw computeState(computeId, 'not paused', 'start it instead');
  await writePower(core, computeId, 'on');
  await core.room.call('unpause', { computeId });
}

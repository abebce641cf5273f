import { randomUUID } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { StateAfterRevert } from '../../../../gen/nfv/driver/v1/driver_pb.js';
import {
  CompatibilityStampSchema,
  ComputeState,
  type InstanceSnapshot,
} from '../../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { stampMismatch } from '../../../../sdk/compatibility.ts';
import { failedPrecondition } from '../../../../sdk/errors.ts';
import { failpoint } from '../../../../sdk/failpoint.ts';
import { copySparse } from '../host/durable-files.ts';
import type { LeaseFile } from '../leases/lease-files.ts';
import { runFiles } from '../machine/arguments.ts';
import {
  activeLayers,
  boot,
  describeMachine,
  liveMachine,
  observe,
  stop,
} from '../machine/lifecycle.ts';
import { pointLinks } from '../machine/links.ts';
import { discardRun, type Machine, startMachine } from '../machine/machine.ts';
import { snapshotMessage, stampMessage } from '../service/messages.ts';
import type { CallName, DriverContext } from '../state/context.ts';
import type { Attachment, ComputeRecord, RunRecord, SnapshotRecord } from '../state/records.ts';
import { memoryImage, stateImage } from './capture.ts';
import { assertDetached } from './detached.ts';
import { loadDeviceState } from './device-state.ts';

/**
 * How long the old machine waits, paused, for the new one: a start of QEMU on a busy host, and its
 * memory copied at 100 MiB a second. Then the watchdog lets it run on.
 */
const swapHoldMs = ({ memoryMib }: ComputeRecord): number => 30_000 + 10 * memoryMib;
/** After the hold of a reverted machine ends, its file systems must be thawed within this time. */
const thawGraceMs = 30_000;
const thawDeadlineMs = 15_000;

export type RevertRequest = {
  computeId: string;
  snapshotId: string;
  stateAfter: StateAfterRevert;
  holdMs: number;
  force: boolean;
  /** Volumes that nothing has, and that go back as well. */
  detached: readonly Attachment[];
  call: CallName;
};

/** Where a reverted instance ends up. */
type Goal = 'RUNNING' | 'PAUSED' | 'HELD' | 'STOPPED';

/**
 * Brings an instance back. The old machine waits, paused, until the new one has loaded the
 * snapshot; one transaction of the records then makes the new one the present one. Before it
 * everything can be undone, after it only tidied.
 */
export async function revert(context: DriverContext, request: RevertRequest): Promise<void> {
  const compute = context.compute(request.computeId);
  const record = context.store.get('snapshot', request.snapshotId)!;
  const snapshot = snapshotMessage(record);
  const goal = goalOf(request, snapshot);
  assertFits(context, compute, snapshot, record, request, goal);
  const warm = snapshot.memory && goal !== 'STOPPED';
  const made: string[] = [];
  try {
    const layers = await newLayers(context, compute, request, record, made);
    if (warm) await revertWarm(context, compute, request, record, snapshot, layers, goal);
    else await revertCold(context, compute, request, layers, goal);
  } finally {
    context.layers.unpin(made);
    context.changed(compute.computeId);
  }
}

function goalOf(request: RevertRequest, snapshot: InstanceSnapshot): Goal {
  if (request.stateAfter === StateAfterRevert.RUNNING) return 'RUNNING';
  if (request.stateAfter === StateAfterRevert.HELD) return 'HELD';
  if (request.stateAfter === StateAfterRevert.STOPPED) return 'STOPPED';
  if (snapshot.stateWhenTaken === ComputeState.RUNNING) return 'RUNNING';
  return snapshot.stateWhenTaken === ComputeState.PAUSED && snapshot.memory ? 'PAUSED' : 'STOPPED';
}

function assertFits(
  context: DriverContext,
  compute: ComputeRecord,
  snapshot: InstanceSnapshot,
  record: SnapshotRecord,
  request: RevertRequest,
  goal: Goal,
): void {
  const incompatible = (text: string, metadata: Record<string, string>) =>
    failedPrecondition('INCOMPATIBLE', `snapshot ${snapshot.snapshotId}: ${text}`, metadata);
  const names = [...compute.attachments, ...request.detached].map(({ name }) => name);
  for (const name of Object.keys(record.layers)) {
    if (names.includes(name)) continue;
    throw incompatible(`${compute.computeId} has no volume "${name}"`, { volume: name });
  }
  if (goal === 'HELD' && !snapshot.memory) {
    throw incompatible('it holds no memory, so there is nothing to hold', { wanted: 'HELD' });
  }
  if (!snapshot.memory || goal === 'STOPPED') return;
  const sorted = (some: readonly { name: string }[]) =>
    some
      .map(({ name }) => name)
      .sort()
      .join(', ');
  const [had, has] = [sorted(snapshot.spec?.volumes ?? []), sorted(compute.attachments)];
  if (had !== has) {
    const text = `its memory was captured with the volumes ${had}, ${compute.computeId} has ${has}`;
    throw incompatible(text, { volumes: had, wanted: has });
  }
  const size = snapshot.images.find(({ name }) => name === memoryImage.name)?.sizeBytes ?? 0n;
  const wanted = BigInt(compute.memoryMib) * 1024n * 1024n;
  if (size !== wanted) {
    const text = `its memory has ${size} bytes, ${compute.computeId} has ${wanted}`;
    throw incompatible(text, { memory_bytes: String(size), wanted: String(wanted) });
  }
  if (request.force) return;
  const stamp = snapshot.compatibility ?? create(CompatibilityStampSchema);
  const mismatch = stampMismatch(stamp, stampMessage(context.hypervisor));
  if (!mismatch) return;
  const { attribute, there, here } = mismatch;
  throw incompatible(`${attribute} is "${there}" there and "${here}" here`, mismatch);
}

/**
 * The layers of each attached volume after the revert: new ones on the frozen ones; others stay.
 */
async function newLayers(
  context: DriverContext,
  compute: ComputeRecord,
  { detached }: RevertRequest,
  record: SnapshotRecord,
  made: string[],
): Promise<Map<string, string>> {
  const layers = activeLayers(context, compute);
  for (const { volumeId, name } of [...compute.attachments, ...detached]) {
    const frozenId = record.layers[name];
    if (frozenId === undefined) continue;
    const frozen = context.layers.get(frozenId);
    const layer = await context.layers.create(frozen.sizeBytes, frozenId);
    made.push(layer.layerId);
    layers.set(volumeId, layer.layerId);
  }
  return layers;
}

/** The one moment at which the instance is at the snapshot: all records change together. */
function commit(
  context: DriverContext,
  compute: ComputeRecord,
  request: RevertRequest,
  layers: ReadonlyMap<string, string>,
  change: Partial<ComputeRecord>,
): void {
  context.store.transaction(() => {
    assertDetached(context, request.detached);
    for (const [volumeId, activeLayerId] of layers) {
      const volume = context.store.get('volume', volumeId)!;
      const { sizeBytes } = context.layers.get(activeLayerId);
      context.store.put('volume', volumeId, { ...volume, activeLayerId, sizeBytes });
    }
    const present = context.compute(compute.computeId);
    context.update(compute.computeId, {
      ...change,
      parentSnapshotId: request.snapshotId,
      generationId: `${compute.lastRun + 1}-${randomUUID()}`,
      calls: context.withCall(present, 'revert', request.call),
    });
  });
}

async function revertCold(
  context: DriverContext,
  compute: ComputeRecord,
  request: RevertRequest,
  layers: ReadonlyMap<string, string>,
  goal: Goal,
): Promise<void> {
  // The guest's memory belongs to the disks that are left behind: it ends before the disks change.
  await stop(context, compute.computeId, undefined);
  await failpoint('qemu.revert.stopped');
  commit(context, compute, request, layers, { frozen: false });
  if (goal === 'RUNNING') await boot(context, context.compute(compute.computeId));
}

async function revertWarm(
  context: DriverContext,
  compute: ComputeRecord,
  request: RevertRequest,
  record: SnapshotRecord,
  snapshot: InstanceSnapshot,
  layers: ReadonlyMap<string, string>,
  goal: Goal,
): Promise<void> {
  const old = await setAside(context, compute, record);
  const run: RunRecord = { number: compute.lastRun + 1, uuid: randomUUID() };
  const folder = context.folders.run(compute.computeId, run.number);
  let machine: Machine | undefined;
  const leases: LeaseFile[] = [];
  try {
    machine = await load(context, compute, request, run, folder, layers);
    const identified = { ...run, process: machine.process };
    leases.push(...(await takeLeases(context, compute, request, machine, snapshot, goal)));
    await failpoint('qemu.revert.loaded');
    const { failure: _, ...present } = context.compute(compute.computeId);
    context.store.put('compute', compute.computeId, present);
    commit(context, compute, request, layers, {
      run: identified,
      lastRun: run.number,
      wanted: goal === 'PAUSED' ? 'PAUSED' : 'RUNNING',
      // A paused machine has no lease: its file systems are seen to when it is let run.
      frozen: snapshot.quiesced && goal === 'PAUSED',
      clockBehind: true,
    });
  } catch (error) {
    machine?.qmp.close();
    for (const lease of leases) await context.leases.files.release(lease.leaseId);
    await discardRun(folder, machine?.process);
    await putBack(context, old);
    throw error;
  }
  // At once: the end of the old machine is not the end of the present one any more.
  context.attach(compute.computeId, machine);
  await failpoint('qemu.revert.committed');
  await endOld(context, compute, old);
  await pointLinks(context.folders, compute.computeId, run.number, compute.interfaces);
  if (goal === 'RUNNING') await letRun(context, machine, compute.computeId, leases);
}

/** The machine before the revert, waiting. */
type SetAside = { machine?: Machine; lease?: LeaseFile; freezeLeaseId?: string } & {
  computeId: string;
};

async function setAside(
  context: DriverContext,
  compute: ComputeRecord,
  record: SnapshotRecord,
): Promise<SetAside> {
  const { computeId } = compute;
  const machine = await liveMachine(context, computeId);
  if (!machine) return { computeId };
  const covered = compute.attachments.every(({ name }) => record.layers[name] !== undefined);
  if (!covered) {
    // A volume that stays as it is can be open in one machine only: the old one cannot wait.
    await stop(context, computeId, undefined);
    return { computeId };
  }
  const hold = await context.leases.find(computeId, 'hold');
  const freeze = await context.leases.find(computeId, 'freeze');
  const running = hold ? hold.resume : (await observe(context, computeId)).state === 'RUNNING';
  // In force before the caller's hold ends: at no moment is the guest paused without a deadline.
  const lease = running
    ? await context.leases.take({
        kind: 'hold',
        computeId,
        runFolder: machine.folder,
        uuid: machine.uuid,
        durationMs: swapHoldMs(compute),
        resume: true,
        thaw: false,
      })
    : undefined;
  const old: SetAside = {
    computeId,
    machine,
    ...(lease ? { lease } : {}),
    ...(freeze ? { freezeLeaseId: freeze.leaseId } : {}),
  };
  try {
    await failpoint('qemu.revert.rehold');
    if (hold) await context.leases.files.release(hold.leaseId);
    await machine.pause();
    await failpoint('qemu.revert.paused');
    return old;
  } catch (error) {
    await putBack(context, old);
    throw error;
  }
}

async function putBack(context: DriverContext, old: SetAside): Promise<void> {
  if (!old.lease) return;
  if (old.machine?.alive) await old.machine.resume();
  await context.leases.files.release(old.lease.leaseId);
  context.changed(old.computeId);
}

async function endOld(
  context: DriverContext,
  compute: ComputeRecord,
  old: SetAside,
): Promise<void> {
  await old.machine?.end();
  for (const id of [old.lease?.leaseId, old.freezeLeaseId]) {
    if (id) await context.leases.files.release(id);
  }
  if (!compute.run) return;
  const folder = context.folders.run(compute.computeId, compute.run.number);
  await rm(folder, { recursive: true, force: true });
}

/** A second machine beside the waiting one, with the snapshot's memory and device state, paused. */
async function load(
  context: DriverContext,
  compute: ComputeRecord,
  request: RevertRequest,
  run: RunRecord,
  folder: string,
  layers: ReadonlyMap<string, string>,
): Promise<Machine> {
  const source = context.folders.snapshot(request.snapshotId);
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await copySparse(join(source, memoryImage.file), join(folder, runFiles.memory));
  const description = describeMachine(context, compute, run, layers, true);
  const machine = await startMachine(description, folder, context.config.program, () => {});
  try {
    await failpoint('qemu.revert.started');
    await loadDeviceState(machine, join(source, stateImage.file));
    return machine;
  } catch (error) {
    await machine.end();
    throw error;
  }
}

/**
 * Taken before the machine becomes the present one: from then on nobody may leave it paused or
 * frozen.
 */
async function takeLeases(
  context: DriverContext,
  compute: ComputeRecord,
  request: RevertRequest,
  machine: Machine,
  snapshot: InstanceSnapshot,
  goal: Goal,
): Promise<LeaseFile[]> {
  if (goal === 'PAUSED') return [];
  const durationMs = goal === 'HELD' ? request.holdMs : swapHoldMs(compute);
  const common = { computeId: compute.computeId, runFolder: machine.folder, uuid: machine.uuid };
  const leases: LeaseFile[] = [];
  const hold = { kind: 'hold', resume: true, thaw: false, durationMs } as const;
  leases.push(await context.leases.take({ ...common, ...hold }));
  if (snapshot.quiesced) {
    const thawMs = durationMs + thawGraceMs;
    const freeze = { kind: 'freeze', resume: false, thaw: true, durationMs: thawMs } as const;
    leases.push(await context.leases.take({ ...common, ...freeze }));
  }
  return leases;
}

async function letRun(
  context: DriverContext,
  machine: Machine,
  computeId: string,
  leases: LeaseFile[],
): Promise<void> {
  await machine.resume();
  for (const { leaseId, thaw } of leases) {
    try {
      if (thaw) await machine.thaw(thawDeadlineMs);
      await context.leases.files.release(leaseId);
    } catch (error) {
      // The instance is at the snapshot and runs: an agent that is slow to thaw is the watchdog's
      // business now.
      context.logger.warn('a reverted guest does not thaw; the watchdog goes on', {
        computeId,
        error,
      });
    }
  }
}

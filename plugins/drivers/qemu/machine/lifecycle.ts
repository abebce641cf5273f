import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { failpoint } from '../../../../sdk/failpoint.ts';
import { waitForExit } from '../host/process.ts';
import type { DriverContext } from '../state/context.ts';
import type { ComputeRecord, RunRecord } from '../state/records.ts';
import type { MachineDescription } from './arguments.ts';
import { linkPaths, pointLinks } from './links.ts';
import { adoptMachine, discardRun, type Machine, startMachine } from './machine.ts';

const exitMs = 3000;

/** The state of a compute resource and, when nobody asked for it, why. */
export type Observed = { state: 'STOPPED' | 'RUNNING' | 'PAUSED' | 'FAILED'; reason: string };

/** Asks QEMU for the state; what is recorded only says what was wanted. */
export async function observe(context: DriverContext, computeId: string): Promise<Observed> {
  const compute = context.compute(computeId);
  const transition = context.transitions.get(computeId);
  if (transition) return { state: transition, reason: 'on its way to another state' };
  if (!compute.run) {
    const failed = compute.wanted !== 'STOPPED';
    return { state: failed ? 'FAILED' : 'STOPPED', reason: failed ? (compute.failure ?? '') : '' };
  }
  const machine = context.machine(computeId) ?? (await attachRun(context, compute, compute.run));
  if (!machine) return observe(context, computeId);
  try {
    return await machine.condition();
  } catch (error) {
    // QEMU closes its sockets a moment before it ends.
    if (!machine.qmp.closed || !(await waitForExit(machine.process, exitMs))) throw error;
    return { state: 'FAILED', reason: 'QEMU ended by itself' };
  }
}

/** The machine of a compute resource that runs or is paused; undefined when there is none. */
export async function liveMachine(
  context: DriverContext,
  computeId: string,
): Promise<Machine | undefined> {
  const { state } = await observe(context, computeId);
  return state === 'RUNNING' || state === 'PAUSED' ? context.machine(computeId) : undefined;
}

/** Attaches to a recorded run, or records that it is gone. */
async function attachRun(
  context: DriverContext,
  compute: ComputeRecord,
  run: RunRecord,
): Promise<Machine | undefined> {
  const folder = context.folders.run(compute.computeId, run.number);
  const machine = await adoptMachine(run, folder);
  if (machine) context.attach(compute.computeId, machine);
  else await context.noteFailure(compute.computeId, folder);
  return machine;
}

/**
 * What a new run of this compute resource is started with; `layerIds` are its active layers by
 * volume.
 */
export function describeMachine(
  context: DriverContext,
  compute: ComputeRecord,
  run: RunRecord,
  layerIds: ReadonlyMap<string, string>,
  incoming: boolean,
): MachineDescription {
  const { folders, hypervisor } = context;
  return {
    name: compute.computeId,
    uuid: run.uuid,
    accelerator: hypervisor.accelerator,
    machineType: hypervisor.machineType,
    cpuModel: hypervisor.cpuModel,
    virtualCpus: compute.virtualCpus,
    memoryMib: compute.memoryMib,
    generationGuid: randomUUID(),
    ...(compute.kernel ? { kernel: compute.kernel } : {}),
    disks: compute.attachments.map(({ volumeId, name }) => ({
      name,
      serial: name.slice(0, 20),
      chain: context.layers.chain(layerIds.get(volumeId)!),
    })),
    interfaces: compute.interfaces.map(({ networkId, slot, mac }, index) => ({
      mac,
      ...linkPaths(folders, compute.computeId, run.number, networkId, slot, index),
    })),
    incoming,
  };
}

/** The layers that the volumes of a compute resource are at now. */
export function activeLayers(context: DriverContext, compute: ComputeRecord): Map<string, string> {
  return new Map(
    compute.attachments.map(({ volumeId }) => {
      const volume = context.store.get('volume', volumeId);
      if (!volume) throw new Error(`${compute.computeId} has volume ${volumeId}, which is unknown`);
      return [volumeId, volume.activeLayerId];
    }),
  );
}

/** Boots a stopped compute resource. A failure leaves it stopped. */
export async function boot(context: DriverContext, compute: ComputeRecord): Promise<void> {
  const { computeId } = compute;
  const run: RunRecord = { number: compute.lastRun + 1, uuid: randomUUID() };
  const folder = context.folders.run(computeId, run.number);
  const description = describeMachine(context, compute, run, activeLayers(context, compute), false);
  // Recorded first: a process without a record would be nobody's.
  const { failure: _, clockBehind: __, ...rest } = compute;
  const record = { ...rest, run, lastRun: run.number, wanted: 'RUNNING' as const, frozen: false };
  context.store.put('compute', computeId, record);
  context.transitions.set(computeId, 'STOPPED');
  try {
    await failpoint('qemu.boot.recorded');
    const machine = await startMachine(description, folder, context.config.program, (identity) =>
      context.update(computeId, { run: { ...run, process: identity } }),
    );
    await failpoint('qemu.boot.started');
    await pointLinks(context.folders, computeId, run.number, compute.interfaces);
    await machine.resume();
    context.attach(computeId, machine);
  } catch (error) {
    await discardRun(folder, context.compute(computeId).run?.process);
    forgetRun(context, computeId, 'STOPPED');
    throw error;
  } finally {
    context.transitions.delete(computeId);
  }
}

/** Ends the machine of a compute resource, if there is one; it is STOPPED afterwards. */
export async function stop(
  context: DriverContext,
  computeId: string,
  gracefulMs: number | undefined,
): Promise<void> {
  const machine = await liveMachine(context, computeId);
  const { run } = context.update(computeId, { wanted: 'STOPPED' });
  try {
    await endMachine(context, computeId, machine, gracefulMs);
  } finally {
    context.transitions.delete(computeId);
  }
  if (run) await rm(context.folders.run(computeId, run.number), { recursive: true, force: true });
  forgetRun(context, computeId, 'STOPPED');
  context.changed(computeId);
}

async function endMachine(
  context: DriverContext,
  computeId: string,
  machine: Machine | undefined,
  gracefulMs: number | undefined,
): Promise<void> {
  if (machine) {
    context.transitions.set(computeId, 'RUNNING');
    context.detach(computeId);
    if (gracefulMs !== undefined && (await machine.state()) === 'RUNNING') {
      await machine.powerDown(gracefulMs).catch(() => false); // it is ended below in any case
    }
    await machine.end();
  }
  for (const kind of ['hold', 'freeze'] as const) {
    const lease = await context.leases.find(computeId, kind);
    if (lease) await context.leases.files.release(lease.leaseId);
  }
}

/** Records that nothing runs. */
function forgetRun(context: DriverContext, computeId: string, wanted: 'STOPPED'): void {
  const { run: _, failure: __, ...rest } = context.compute(computeId);
  context.store.put('compute', computeId, { ...rest, wanted, frozen: false });
}

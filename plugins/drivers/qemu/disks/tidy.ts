import { failpoint } from '../../../../sdk/failpoint.ts';
import { liveMachine } from '../machine/lifecycle.ts';
import type { Machine } from '../machine/machine.ts';
import type { DriverContext } from '../state/context.ts';
import { layerFileName } from '../state/folders.ts';
import { nodeName } from './layer-store.ts';
import { chainOf, nextTidyStep, type TidyStep } from './layers.ts';
import { rebaseImage } from './qemu-img.ts';

/** Merging copies what a layer holds. */
const mergeDeadlineMs = 3_600_000;
/**
 * Each step removes a layer; more than this in one go means that the records contradict themselves.
 */
const stepsMax = 4096;

/**
 * The key under which the trees of layers change; captures do not take it, because they only add
 * leaves. It comes before the locks of compute resources.
 */
export const layersLock = 'layers';

/**
 * Merges and removes layers that neither a snapshot nor a volume points at, so that chains stay
 * short. Guests run on meanwhile. A machine that is held or frozen is left alone: nobody may wait
 * for a merge under a deadline.
 */
export async function tidyLayers(context: DriverContext): Promise<void> {
  for (let step = 0; step < stepsMax && !context.closing; step++) {
    const next = await context.locks.run(layersLock, () => tidyOnce(context));
    if (!next) return;
    await failpoint('qemu.tidy.step');
  }
}

/** One step; false when there is none, or none that may be taken now. */
async function tidyOnce(context: DriverContext): Promise<boolean> {
  const layers = context.layers.all();
  const pinned = pinnedLayers(context);
  for (const computeId of await busyComputes(context)) {
    for (const layerId of layersOf(context, computeId)) pinned.add(layerId);
  }
  const step = nextTidyStep(layers, usedLayers(context), pinned);
  if (!step) return false;
  if (step.kind === 'absorb') return absorb(context, step);
  await context.layers.remove(step.layerId);
  return true;
}

/**
 * Does the work while these layers are neither merged nor removed. Waits for a merge that is under way, and a merge may wait
 * for a compute resource: so this comes before the lock of one, never under it.
 */
export async function withPinned<T>(
  context: DriverContext,
  layersOf: () => readonly string[],
  work: () => Promise<T>,
): Promise<T> {
  const layerIds = await context.locks.run(layersLock, async () => {
    const found = layersOf();
    context.layers.pin(found);
    return found;
  });
  try {
    return await work();
  } finally {
    context.layers.unpin(layerIds);
  }
}

function usedLayers(context: DriverContext): Set<string> {
  return new Set([
    ...context.store.list('volume').map(({ activeLayerId }) => activeLayerId),
    ...context.store.list('snapshot').flatMap(({ layers }) => Object.values(layers)),
  ]);
}

/** Layers that somebody reads, and all below them. */
function pinnedLayers(context: DriverContext): Set<string> {
  const layers = context.layers.all();
  const tops = context.store.list('opening').flatMap(({ topLayerIds }) => topLayerIds);
  const all = [...tops, ...context.layers.pinned].filter((id) => layers.has(id));
  return new Set(all.flatMap((top) => chainOf(layers, top).map(({ layerId }) => layerId)));
}

/**
 * Held or frozen; or paused after a capture, when QEMU has given its disks away and must not write
 * to them.
 */
async function busyComputes(context: DriverContext): Promise<string[]> {
  const { inForce } = await context.leases.files.list();
  const busy = inForce.map(({ computeId }) => computeId);
  for (const [computeId, machine] of context.attached()) {
    if (!(await machine.ownsDisks())) busy.push(computeId);
  }
  return busy;
}

function layersOf(context: DriverContext, computeId: string): string[] {
  const layers = context.layers.all();
  const compute = context.store.get('compute', computeId);
  return (compute?.attachments ?? []).flatMap(({ volumeId }) => {
    const volume = context.store.get('volume', volumeId);
    return volume ? chainOf(layers, volume.activeLayerId).map(({ layerId }) => layerId) : [];
  });
}

async function absorb(
  context: DriverContext,
  step: Extract<TidyStep, { kind: 'absorb' }>,
): Promise<boolean> {
  const owners = context.store
    .list('compute')
    .map(({ computeId }) => computeId)
    .filter((computeId) => layersOf(context, computeId).includes(step.childId));
  return withLocks(context, owners, async () => {
    const busy = await busyComputes(context);
    // It became busy since we looked: seen to later.
    if (owners.some((computeId) => busy.includes(computeId))) return false;
    const machines: Machine[] = [];
    for (const computeId of owners) {
      const machine = await liveMachine(context, computeId);
      if (machine) machines.push(machine);
    }
    if (machines.length > 1) throw new Error(`layer ${step.childId} is open in two machines`);
    const machine = machines[0];
    if (machine) await absorbLive(context, machine, step);
    else {
      const base = context.layers.get(step.newParentId);
      const backing = { name: layerFileName(base), format: base.format };
      await rebaseImage(context.layers.path(step.childId), backing);
    }
    // First the record that nothing needs the layer, then the layer: a crash in between repeats a
    // merge of nothing.
    context.layers.reparent(step.childId, step.newParentId);
    await context.layers.remove(step.layerId);
    return true;
  });
}

/**
 * The same while a guest runs on the chain: QEMU copies, and takes the layer out of the chain at
 * the end.
 */
async function absorbLive(
  context: DriverContext,
  machine: Machine,
  step: Extract<TidyStep, { kind: 'absorb' }>,
): Promise<void> {
  const base = context.layers.get(step.newParentId);
  const jobId = `merge-${step.layerId}`;
  await machine.qmp.execute('block-stream', {
    'job-id': jobId,
    device: nodeName(step.childId),
    'base-node': nodeName(step.newParentId),
    'backing-file': layerFileName(base),
    'auto-dismiss': false,
  });
  await machine.qmp.finishJob(jobId, mergeDeadlineMs);
  // A node that was added by its name stays until it is removed by it.
  await machine.qmp.execute('blockdev-del', { 'node-name': nodeName(step.layerId) });
}

/** In one order for everybody, so that two callers never wait for each other. */
function withLocks<T>(context: DriverContext, keys: string[], work: () => Promise<T>): Promise<T> {
  const [first, ...rest] = [...keys].sort();
  if (first === undefined) return work();
  return context.locks.run(computeLock(first), () => withLocks(context, rest, work));
}

/** The key under which one compute resource changes. */
export const computeLock = (computeId: string): string => `compute ${computeId}`;

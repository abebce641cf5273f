import { access, readdir, readlink, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { removeLinkedFile } from '../../../sdk/snapshot-folder.ts';
import { commandLine, identify, type ProcessIdentity } from './host/process.ts';
import { runFiles } from './machine/arguments.ts';
import { liveMachine, observe } from './machine/lifecycle.ts';
import { pointLinks } from './machine/links.ts';
import { discardRun } from './machine/machine.ts';
import { reconcileLayers } from './snapshots/capture.ts';
import { removeSnapshotFolder } from './snapshots/folder.ts';
import { importFolder } from './snapshots/import.ts';
import { closeExpired, socketPrefix } from './snapshots/openings.ts';
import type { DriverContext } from './state/context.ts';
import { folderName, layerFileName } from './state/folders.ts';

const thawDeadlineMs = 5000;
/** An import that nobody sealed for a day is rubbish. */
const importMsMax = 86_400_000;

/**
 * Brings the world and the records together after a start: machines that live are taken over,
 * machines that no record names are ended, holds are let go, and files that belong to nothing are
 * removed. Repeatable.
 */
export async function recover(context: DriverContext): Promise<void> {
  await endStrayMachines(context);
  for (const { computeId } of context.store.list('compute')) {
    try {
      await recoverCompute(context, computeId);
    } catch (error) {
      context.logger.error('a machine could not be taken over', { computeId, error });
    }
  }
  await releaseLeases(context);
  await closeExpired(context);
  await recoverImports(context);
  await sweep(context);
}

async function recoverCompute(context: DriverContext, computeId: string): Promise<void> {
  const { state } = await observe(context, computeId);
  context.logger.info('found a compute resource', { computeId, state });
  const machine = context.machine(computeId);
  const compute = context.compute(computeId);
  if (!machine || !compute.run) return;
  if (!compute.run.process) {
    context.update(computeId, { run: { ...compute.run, process: machine.process } });
  }
  await reconcileLayers(context, machine, compute.attachments);
  await pointLinks(context.folders, computeId, compute.run.number, compute.interfaces);
  const { inForce } = await context.leases.files.list();
  const held = inForce.some(({ kind, uuid }) => kind === 'hold' && uuid === machine.uuid);
  // Killed between two steps of a start or an end: what was wanted is brought about.
  if (state === 'PAUSED' && compute.wanted === 'RUNNING' && !held) await machine.resume();
}

/** A hold found after a crash is released, never resumed: who held has lost its count of time. */
async function releaseLeases(context: DriverContext): Promise<void> {
  const { inForce } = await context.leases.files.list();
  for (const lease of inForce) {
    const machine = context.store.get('compute', lease.computeId)
      ? await liveMachine(context, lease.computeId)
      : undefined;
    try {
      if (machine?.uuid === lease.uuid) {
        if (lease.resume) await machine.resume();
        if (lease.thaw) await machine.thaw(thawDeadlineMs);
        context.update(lease.computeId, { frozen: false });
      }
      await context.leases.files.release(lease.leaseId);
    } catch (error) {
      // The lease stays in force, and with it the watchdog's duty.
      context.logger.warn('a lease could not be released; the watchdog keeps its deadline', {
        lease: lease.leaseId,
        error,
      });
    }
  }
}

/**
 * Machines of runs that no record names: the old one after a revert, or the new one before its
 * commit.
 */
async function endStrayMachines(context: DriverContext): Promise<void> {
  const known = new Map(
    context.store
      .list('compute')
      .map(({ computeId, run }) => [folderName(computeId), run && `run-${run.number}`]),
  );
  for (const machine of await readdir(context.folders.machines)) {
    const present = known.has(machine);
    const folder = join(context.folders.machines, machine);
    for (const run of await readdir(folder)) {
      if (present && known.get(machine) === run) continue;
      const path = join(folder, run);
      await discardRun(path, await strayProcess(path));
    }
    if (!present) await rm(folder, { recursive: true, force: true });
  }
}

/** The QEMU whose working folder this is. */
async function strayProcess(folder: string): Promise<ProcessIdentity | undefined> {
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const cwd = await readlink(join('/proc', name, 'cwd')).catch(() => '');
    if (cwd !== folder) continue;
    if ((await commandLine(Number(name))).includes(runFiles.pid)) return identify(Number(name));
  }
  return undefined;
}

/** An import that was renamed and not recorded goes back, so that it can be sealed again. */
async function recoverImports(context: DriverContext): Promise<void> {
  for (const { snapshotId, beginTimeMs } of context.store.list('import')) {
    const folder = importFolder(context, snapshotId);
    const sealed = context.folders.snapshot(snapshotId);
    if (!(await exists(folder)) && (await exists(sealed))) await rename(sealed, folder);
    if (Date.now() - beginTimeMs < importMsMax) continue;
    context.store.delete('import', snapshotId);
    await rm(folder, { recursive: true, force: true });
  }
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

/**
 * Removes files that nothing points at: half-made snapshots, layers without a record, temporary
 * names.
 */
async function sweep(context: DriverContext): Promise<void> {
  const { folders, store } = context;
  const snapshots = new Set([
    ...store.list('snapshot').map(({ snapshotId }) => folderName(snapshotId)),
    ...store.list('import').map(({ snapshotId }) => `${folderName(snapshotId)}.import`),
  ]);
  const layers = new Set(store.list('layer').map(layerFileName));
  await keepOnly(
    folders.snapshots,
    (name) => snapshots.has(name),
    (path) => removeSnapshotFolder(context, path),
  );
  await keepOnly(folders.layers, (name) => layers.has(name), removeLayer);
  await keepOnly(folders.images, (name) => !name.endsWith('.tmp'));
  await keepOnly(folders.leases, (name) => !/\.(tmp|released)$/.test(name));
  const openings = new Set(store.list('opening').map(({ token }) => socketPrefix(token)));
  await keepOnly(folders.nbd, (name) => name === 'nbd.log' || openings.has(name.split('-')[0]!));
}

/** A link that was to take the place of a layer does not own what it leads to. */
function removeLayer(path: string): Promise<void> {
  return path.endsWith('.moved') ? rm(path) : removeLinkedFile(path);
}

async function keepOnly(
  folder: string,
  keep: (name: string) => boolean,
  remove = (path: string) => rm(path, { recursive: true, force: true }),
): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!keep(name)) await remove(join(folder, name));
  }
}

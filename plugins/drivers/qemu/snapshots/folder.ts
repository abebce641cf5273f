import { mkdir, rename, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { failpoint } from '../../../../sdk/failpoint.ts';
import { linkToNewFolder, placeOf, removeLinked } from '../../../../sdk/snapshot-folder.ts';
import { copySparse, syncFile, syncFolder } from '../host/durable-files.ts';
import type { DriverContext } from '../state/context.ts';
import type { LayerRecord } from '../state/records.ts';

/** Makes the folder of a snapshot: here, or a link to one in the caller's folder. */
export async function makeSnapshotFolder(
  path: string,
  snapshotId: string,
  callersFolder: string | undefined,
): Promise<void> {
  if (callersFolder === undefined) await mkdir(path, { mode: 0o700 });
  else await linkToNewFolder(path, callersFolder, snapshotId);
}

/** Removes it, but for the disks in the caller's folder that layers are made of still. */
export async function removeSnapshotFolder(context: DriverContext, path: string): Promise<void> {
  const layers = new Set(
    context.store.list('layer').map((layer) => placeOf(context.folders.layer(layer))),
  );
  await removeLinked(path, (file) => layers.has(file));
}

/**
 * Moves frozen layers, which nobody writes to any more, to the folder of their snapshot; where each was there is a
 * link then. A guest that runs goes on with the file that it has open, whose space comes back when it ends.
 */
export async function moveFrozen(
  context: DriverContext,
  path: string,
  disks: readonly { name: string; frozen: LayerRecord }[],
): Promise<void> {
  const folder = placeOf(path);
  for (const { name, frozen } of disks) {
    const layer = context.folders.layer(frozen);
    const target = join(folder, `disk-${name}.${frozen.format}`);
    await copySparse(layer, target);
    await syncFile(target);
    await syncFolder(folder);
    await failpoint('qemu.capture.moving');
    const link = `${layer}.moved`;
    await rm(link, { force: true });
    await symlink(target, link);
    await rename(link, layer);
    await syncFolder(context.folders.layers);
  }
}

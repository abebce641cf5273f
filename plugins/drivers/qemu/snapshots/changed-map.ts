import { join } from 'node:path';
import { failedPrecondition } from '../../../../sdk/errors.ts';
import { layersAbove } from '../disks/layers.ts';
import { imageMap } from '../disks/qemu-img.ts';
import type { DriverContext } from '../state/context.ts';
import type { SnapshotRecord } from '../state/records.ts';
import { memoryImage } from './capture.ts';

/** A run of bytes. */
export type Run = { start: number; length: number };

/**
 * What changed in a disk between two snapshots: whatever the layers above the base's top layer
 * decide, also where they say "zero". The map is the allocation of files that do not change any
 * more, so no crash can lose it. FAILED_PRECONDITION reason MAP_LOST when the base's layer is not
 * below the target's.
 */
export async function changedRuns(
  context: DriverContext,
  base: SnapshotRecord,
  target: SnapshotRecord,
  imageName: string,
): Promise<Run[]> {
  const from = base.layers[imageName];
  const to = target.layers[imageName];
  const lost = (why: string) =>
    failedPrecondition(
      'MAP_LOST',
      `no changed-block map for "${imageName}": ${why}; scan instead`,
      {
        base: base.snapshotId,
        target: target.snapshotId,
        image: imageName,
      },
    );
  if (from === undefined || to === undefined) {
    throw lost('it is not a disk of both snapshots');
  }
  const depth = layersAbove(context.layers.all(), from, to);
  if (depth === undefined) throw lost('the newer snapshot does not descend from the older one');
  if (depth === 0) return [];
  const top = context.layers.get(to);
  const entries = await imageMap(context.layers.path(to), top.format);
  return merged(entries.filter((entry) => entry.depth < depth));
}

/** The runs of an image that may hold anything but zeros. */
export async function allocatedRuns(
  context: DriverContext,
  snapshot: SnapshotRecord,
  imageName: string,
): Promise<Run[]> {
  const layerId = snapshot.layers[imageName];
  const entries =
    layerId === undefined
      ? await imageMap(join(context.folders.snapshot(snapshot.snapshotId), memoryImage.file), 'raw')
      : await imageMap(context.layers.path(layerId), context.layers.get(layerId).format);
  return merged(entries.filter((entry) => entry.data));
}

/** Joins neighbours. The input is ordered and does not overlap. */
function merged(runs: Run[]): Run[] {
  const result: Run[] = [];
  for (const { start, length } of runs) {
    const last = result.at(-1);
    if (last && last.start + last.length === start) last.length += length;
    else result.push({ start, length });
  }
  return result;
}

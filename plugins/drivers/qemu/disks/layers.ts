import type { LayerRecord } from '../state/records.ts';

/**
 * The layers of all disks form trees: each file holds what changed over its parent. Snapshots and
 * volumes point at layers; a layer that nothing points at is merged into its only child or removed.
 * Everything here is pure.
 */
export type Layers = ReadonlyMap<string, LayerRecord>;

/** Deeper chains make every read of a guest slower; each snapshot adds one until it is deleted. */
export const chainDepthMax = 64;

/**
 * The layer and all below it, top first. Throws Error when a parent is missing: the records
 * contradict themselves.
 */
export function chainOf(layers: Layers, top: string): LayerRecord[] {
  const chain: LayerRecord[] = [];
  for (let id: string | undefined = top; id !== undefined; ) {
    const layer = layers.get(id);
    if (!layer) throw new Error(`layer ${id} under ${top} has no record`);
    if (chain.length > layers.size) throw new Error(`the layers under ${top} form a circle`);
    chain.push(layer);
    id = layer.parentId;
  }
  return chain;
}

/**
 * How many layers lie above `base` up to and with `top`; undefined when `base` is not below `top`.
 */
export function layersAbove(layers: Layers, base: string, top: string): number | undefined {
  const index = chainOf(layers, top).findIndex((layer) => layer.layerId === base);
  return index < 0 ? undefined : index;
}

/** What can be tidied: one step of it, because each step changes the tree. */
export type TidyStep =
  | { kind: 'remove'; layerId: string }
  /**
   * `childId` takes over what `layerId` holds and then lies on `newParentId`; `layerId` is removed
   * after it.
   */
  | { kind: 'absorb'; childId: string; layerId: string; newParentId: string };

/**
 * The next step of tidying, or undefined. `used` are the layers that volumes and snapshots point
 * at; `pinned` those that somebody reads, which stay as they are.
 */
export function nextTidyStep(
  layers: Layers,
  used: ReadonlySet<string>,
  pinned: ReadonlySet<string>,
): TidyStep | undefined {
  const children = childrenOf(layers);
  for (const layer of layers.values()) {
    if (used.has(layer.layerId) || pinned.has(layer.layerId)) continue;
    const below = children.get(layer.layerId) ?? [];
    if (below.length === 0) return { kind: 'remove', layerId: layer.layerId };
    const child = below[0]!;
    // A bottom layer stays: it does not deepen the chain, and merging it would copy a whole disk.
    if (below.length > 1 || layer.parentId === undefined || pinned.has(child)) continue;
    return {
      kind: 'absorb',
      childId: child,
      layerId: layer.layerId,
      newParentId: layer.parentId,
    };
  }
  return undefined;
}

function childrenOf(layers: Layers): Map<string, string[]> {
  const children = new Map<string, string[]>();
  for (const { layerId, parentId } of layers.values()) {
    if (parentId === undefined) continue;
    const list = children.get(parentId);
    if (list) list.push(layerId);
    else children.set(parentId, [layerId]);
  }
  return children;
}

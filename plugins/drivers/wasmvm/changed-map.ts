import type { MapBase } from './inventory.ts';
import { mergeLog } from './machine/change-log.ts';

/** A map as it is computed with: the blocks that changed since the base. */
export type ChangedMap = { base: MapBase; bits: Uint8Array };

/** Finds the map of an image of a snapshot; undefined when there is none. */
export type FindMap = (image: MapBase) => ChangedMap | undefined;

const key = ({ snapshotId, imageName }: MapBase) => JSON.stringify([snapshotId, imageName]);
/** The longest chain of maps that is walked; each step is one snapshot. */
const stepsMax = 65_536;

/**
 * The blocks that may differ between two images: the union of all maps on the way from both to
 * their nearest common base, because "changed since" holds in both directions. Undefined when no
 * such way is known.
 */
export function differenceOf(from: MapBase, to: MapBase, find: FindMap): Uint8Array | undefined {
  const ways = [walk(from, find), walk(to, find)] as const;
  const shared = [...ways[0].keys()].find((image) => ways[1].has(image));
  if (shared === undefined) return undefined;
  const parts = [bitsBefore(ways[0], shared), bitsBefore(ways[1], shared)].flat();
  const first = parts[0] ?? find(from)?.bits ?? find(to)?.bits;
  const union = new Uint8Array(first?.length ?? 0);
  for (const part of parts) {
    if (part.length !== union.length) return undefined;
    mergeLog(union, part);
  }
  return union;
}

/** The images from here down to the oldest known base, each with the map that leads on from it. */
function walk(from: MapBase, find: FindMap): Map<string, Uint8Array | undefined> {
  const way = new Map<string, Uint8Array | undefined>();
  let at: MapBase | undefined = from;
  while (at && !way.has(key(at)) && way.size < stepsMax) {
    const map = find(at);
    way.set(key(at), map?.bits);
    at = map?.base;
  }
  return way;
}

function bitsBefore(way: Map<string, Uint8Array | undefined>, end: string): Uint8Array[] {
  const parts: Uint8Array[] = [];
  for (const [image, bits] of way) {
    if (image === end) break;
    if (bits) parts.push(bits);
  }
  return parts;
}

/**
 * What remains of a map when its base goes away: the same blocks and the base's own since the
 * base's base.
 */
export function rebase(map: ChangedMap, baseMap: ChangedMap | undefined): ChangedMap | undefined {
  if (!baseMap || baseMap.bits.length !== map.bits.length) return undefined;
  const bits = map.bits.slice();
  mergeLog(bits, baseMap.bits);
  return { base: baseMap.base, bits };
}

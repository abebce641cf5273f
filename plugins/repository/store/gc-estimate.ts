/** What a garbage collection would free, without doing it. */
import type { Backend } from './backend.ts';
import { type Marked, type SegmentUse, wear } from './gc-mark.ts';
import { objectBytes } from './gc-rewrite.ts';
import { entryBytes, indexHeaderBytes, segmentHeaderBytes } from './index-codec.ts';
import { idSize, segmentEntriesTarget } from './limits.ts';

export type Estimate = {
  freedBytes: number;
  deletedSegments: number;
  rewrittenSegments: number;
  copiedBytes: number;
};

/**
 * `freedBytes` is exact while the copies fill one segment a kind; more of them may make it wrong by
 * some headers of 96 bytes. `unusable`: ids of segments without a usable index.
 */
export async function estimateGarbage(
  backend: Backend,
  marked: Marked,
  unusable: readonly string[],
  limits: { rewriteThreshold: number; segmentBytesMax: number },
): Promise<Estimate> {
  const dead = marked.uses.filter(({ liveEntries }) => liveEntries === 0);
  const worn = marked.uses.filter((use) => {
    const isDue = use.liveEntries > 0 && wear(use) >= limits.rewriteThreshold;
    return isDue && !use.segment.isQuarantined;
  });
  const gone = [...dead, ...worn].map(({ segment }) => segment.id);
  let freedBytes = 0;
  for (const id of [...gone, ...unusable]) freedBytes += await objectBytes(backend, id);
  const copiedBytes = worn.reduce((sum, { liveBytes }) => sum + liveBytes, 0);
  return {
    freedBytes: freedBytes - newObjectBytes(worn, limits.segmentBytesMax),
    deletedSegments: gone.length + unusable.length,
    rewrittenSegments: worn.length,
    copiedBytes,
  };
}

// Blocks are copied to one row of segments, pages and files to another.
function newObjectBytes(worn: readonly SegmentUse[], segmentBytesMax: number): number {
  let bytes = 0;
  for (const uses of Map.groupBy(worn, ({ hasBlocks }) => hasBlocks).values()) {
    const stored = uses.reduce((sum, { liveBytes }) => sum + liveBytes, 0);
    const entries = uses.reduce((sum, { liveEntries }) => sum + liveEntries, 0);
    const byBytes = Math.ceil(stored / (segmentBytesMax - segmentHeaderBytes));
    const segments = Math.max(byBytes, Math.ceil(entries / segmentEntriesTarget));
    const bases = new Set(uses.flatMap(({ liveBases }) => [...liveBases])).size;
    bytes += bases * idSize;
    bytes += stored + entries * entryBytes + segments * (segmentHeaderBytes + indexHeaderBytes);
  }
  return bytes;
}

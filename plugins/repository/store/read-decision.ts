/** Decides how the changes of an image are found, and never believes a map without a sample. */
import { invalidArgument } from '../../../sdk/errors.ts';
import type { CorePool } from '../../../wasm/host/core-pool.ts';
import { kindSameAsParent, kindZero } from '../../../wasm/host/layout.ts';
import type { BlockSource } from '../sources/source.ts';
import {
  type ByteRange,
  blocksOfSizeChange,
  joinRanges,
  mappedBlocks,
  pickSamples,
} from './change-map.ts';
import { isHole } from './ids.ts';
import { blockSize, idSize, runBlocksMax } from './limits.ts';
import type { ImageRecord } from './manifest.ts';
import { type ReadDecision, sourceError } from './pack-image.ts';
import { blockCountOf } from './tree-page.ts';
import type { Tree } from './tree-reader.ts';

export type DecisionRequest = {
  image: string;
  source: BlockSource;
  /** Id of the parent package, if one was given. */
  parentId?: string;
  /** The parent's image of the same name, if there is one. */
  parent?: { record: ImageRecord; tree: Tree };
  changed?: readonly ByteRange[];
  /** Where the map comes from, for the record. */
  changedOrigin?: string;
  /** Why there is no map, for the record. */
  noMapReason?: string;
  samples: number;
  pool: CorePool;
  fraction(): number;
};

/** MAP_OUT_OF_RANGE or MAP_WITHOUT_PARENT (INVALID_ARGUMENT) for a map that cannot be used. */
export async function decide(request: DecisionRequest): Promise<ReadDecision> {
  const { image, source, parent, parentId, changed, samples } = request;
  const mapped = changed && mappedBlocks(changed, source.sizeBytes, image);
  if (changed !== undefined && parentId === undefined) {
    const text =
      `image "${image}" has a changed map but no parent package: name the package that the map ` +
      'starts from';
    throw invalidArgument('MAP_WITHOUT_PARENT', text, { image });
  }
  if (parent === undefined) {
    const because = parentId && `package ${parentId} has no image of this name`;
    return { source: 'full', reason: because ?? 'no parent package', sampledBlocks: 0 };
  }
  const { tree } = parent;
  if (mapped === undefined) {
    const reason = request.noMapReason ?? 'no changed map';
    return { source: 'hash-scan', reason, parent: tree, sampledBlocks: 0 };
  }
  const grown = blocksOfSizeChange(parent.record.logicalBytes, source.sizeBytes);
  const all = joinRanges([...mapped, ...grown]);
  const blocks = pickSamples(all, blockCountOf(source.sizeBytes), samples, request.fraction);
  const liar = await findChanged(request, tree, blocks);
  const sampledBlocks = blocks.length;
  if (liar !== undefined) {
    const reason =
      `the block at byte ${liar * blockSize} differs from the parent but is not in the map: all ` +
      'blocks were compared';
    return { source: 'map-rejected', reason, parent: tree, sampledBlocks };
  }
  const origin = request.changedOrigin ?? 'the caller';
  const checked = samples === 0 ? 'not sampled' : `${sampledBlocks} clean blocks sampled`;
  const reason = `map from ${origin}, ${checked}`;
  return { source: 'map', reason, mapped: all, parent: tree, sampledBlocks };
}

// The first of the blocks that is not what the parent has there.
async function findChanged(
  request: DecisionRequest,
  parent: Tree,
  blocks: readonly number[],
): Promise<number | undefined> {
  for (let start = 0; start < blocks.length; start += runBlocksMax) {
    const some = blocks.slice(start, start + runBlocksMax);
    const found = await findChangedIn(request, parent, some);
    if (found !== undefined) return found;
  }
  return undefined;
}

async function findChangedIn(
  { source, pool }: DecisionRequest,
  parent: Tree,
  blocks: readonly number[],
): Promise<number | undefined> {
  const bytes = new Uint8Array(blocks.length * blockSize);
  const parentIds = new Uint8Array(blocks.length * idSize);
  for (const [index, block] of blocks.entries()) {
    const offset = block * blockSize;
    const start = index * blockSize;
    const length = Math.min(blockSize, source.sizeBytes - offset);
    await source.read(offset, bytes.subarray(start, start + length));
    parentIds.set(await parent.ids(block, 1), index * idSize);
  }
  try {
    const run = await pool.encode({ blocks: blocks.length, bytes, parentIds, compress: false });
    try {
      return blocks.find((_, index) => !isKept(run.kinds[index]!, parentIds, index));
    } finally {
      run.release();
    }
  } catch (error) {
    throw sourceError(error, source.name, 0);
  }
}

function isKept(kind: number, parentIds: Uint8Array, index: number): boolean {
  return kind === kindSameAsParent || (kind === kindZero && isHole(parentIds, index));
}

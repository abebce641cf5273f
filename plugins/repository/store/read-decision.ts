/** Decides how the changes of an image are found, and never believes a map without a sample. */
import { invalidArgument } from '../../../sdk/errors.ts';
import type { CorePool, EncodeRun } from '../../../wasm/host/core-pool.ts';
import { kindSameAsParent, kindZero } from '../../../wasm/host/layout.ts';
import type { BlockSource, FileExtent } from '../sources/source.ts';
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
  /** The image that the parent's was made of; not used with a changed map. */
  older?: BlockSource;
  /** Where the map comes from, for the record. */
  changedOrigin?: string;
  /** Why there is no map, for the record. */
  noMapReason?: string;
  samples: number;
  pool: CorePool;
  fraction(): number;
};

/**
 * MAP_OUT_OF_RANGE, MAP_WITHOUT_PARENT or PARENT_IMAGE_WITHOUT_PARENT (INVALID_ARGUMENT) for a map
 * or an older image that cannot be used.
 */
export async function decide(request: DecisionRequest): Promise<ReadDecision> {
  const { image, source, parent, parentId, changed, samples } = request;
  const mapped = changed && mappedBlocks(changed, source.sizeBytes, image);
  if (request.older !== undefined && parentId === undefined) {
    const text =
      `image "${image}" has an older image but no parent package: name the package that was made ` +
      'of it';
    throw invalidArgument('PARENT_IMAGE_WITHOUT_PARENT', text, { image });
  }
  if (changed !== undefined && parentId === undefined) {
    const text =
      `image "${image}" has a changed map but no parent package: name the package that the map ` +
      'starts from';
    throw invalidArgument('MAP_WITHOUT_PARENT', text, { image });
  }
  if (parent === undefined) {
    const because = parentId && `package ${parentId} has no image of this name, cut as this one`;
    return { source: 'full', reason: because ?? 'no parent package', sampledBlocks: 0 };
  }
  const { tree } = parent;
  if (mapped === undefined && request.older !== undefined) {
    return await decideByOlder(request, parent, request.older);
  }
  if (mapped === undefined) {
    const reason = request.noMapReason ?? 'no changed map';
    return { source: 'hash-scan', reason, parent: tree, sampledBlocks: 0 };
  }
  const grown = blocksOfSizeChange(parent.record.logicalBytes, source.sizeBytes);
  const all = joinRanges([...mapped, ...grown]);
  const blocks = pickSamples(all, blockCountOf(source.sizeBytes), samples, request.fraction);
  const liar = await findChanged(request, (block) => tree.ids(block, 1), blocks);
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

// The older image is believed when its size and a sample of it are what the parent has.
async function decideByOlder(
  request: DecisionRequest,
  { record, tree }: { record: ImageRecord; tree: Tree },
  older: BlockSource,
): Promise<ReadDecision> {
  const scan = (problem: string, sampledBlocks: number): ReadDecision => {
    const reason = `${problem}: all blocks were hashed`;
    return { source: 'hash-scan', reason, parent: tree, sampledBlocks };
  };
  if (older.sizeBytes !== record.logicalBytes) {
    const sizes = `has ${older.sizeBytes} bytes, the parent's ${record.logicalBytes}`;
    return scan(`the older image ${older.name} ${sizes}`, 0);
  }
  const blocks = pickSamples([], record.blockCount, request.samples, request.fraction);
  const sampled = { pool: request.pool, source: older };
  const liar = await findChanged(sampled, (block) => tree.ids(block, 1), blocks);
  if (liar !== undefined) {
    const where = `the block at byte ${liar * blockSize} of ${older.name}`;
    return scan(`${where} is not the parent's`, blocks.length);
  }
  const checked = request.samples === 0 ? 'not sampled' : `${blocks.length} of its blocks sampled`;
  const reason = `compared with ${older.name}, ${checked}`;
  return { source: 'parent-image', reason, parent: tree, older, sampledBlocks: blocks.length };
}

/** What gives the id of a block of an image that is stored already. */
type IdOf = (block: number) => Promise<Uint8Array>;

/** The first of the blocks that does not have the id it shall have. */
export async function findChanged(
  request: Pick<DecisionRequest, 'source' | 'pool'>,
  idOf: IdOf,
  blocks: readonly number[],
): Promise<number | undefined> {
  for (let start = 0; start < blocks.length; start += runBlocksMax) {
    const some = blocks.slice(start, start + runBlocksMax);
    const found = await findChangedIn(request, idOf, some);
    if (found !== undefined) return found;
  }
  return undefined;
}

async function findChangedIn(
  { source, pool }: Pick<DecisionRequest, 'source' | 'pool'>,
  idOf: IdOf,
  blocks: readonly number[],
): Promise<number | undefined> {
  const parentIds = await idsOf(idOf, blocks);
  const content = samplesInFiles(source, blocks) ?? (await readSamples(source, blocks));
  try {
    const run = await pool.encode({
      blocks: blocks.length,
      ...content,
      parentIds,
      compress: false,
    });
    try {
      return blocks.find((_, index) => !isKept(run.kinds[index]!, parentIds, index));
    } finally {
      run.release();
    }
  } catch (error) {
    throw sourceError(error, source.name, 0);
  }
}

async function idsOf(idOf: IdOf, blocks: readonly number[]): Promise<Uint8Array> {
  const ids = new Uint8Array(blocks.length * idSize);
  // The first brings the pages that all share; the others lie far apart.
  ids.set(await idOf(blocks[0]!));
  const rest = blocks.slice(1).map(idOf);
  await Promise.allSettled(rest);
  for (const [index, id] of (await Promise.all(rest)).entries()) ids.set(id, (index + 1) * idSize);
  return ids;
}

// Where the bytes of the blocks lie, so that a worker reads them; undefined when no file has them.
function samplesInFiles(
  source: BlockSource,
  blocks: readonly number[],
): Pick<EncodeRun, 'extents'> | undefined {
  const all: FileExtent[] = [];
  for (const [index, block] of blocks.entries()) {
    const extents = source.fileExtents?.(block * blockSize, sampleLength(source, block));
    if (extents === undefined) return undefined;
    const start = index * blockSize;
    all.push(...extents.map((each) => ({ ...each, bufferOffset: each.bufferOffset + start })));
  }
  return { extents: all };
}

async function readSamples(
  source: BlockSource,
  blocks: readonly number[],
): Promise<Pick<EncodeRun, 'bytes'>> {
  const bytes = new Uint8Array(blocks.length * blockSize);
  const reads = blocks.map((block, index) => {
    const start = index * blockSize;
    const target = bytes.subarray(start, start + sampleLength(source, block));
    return source.read(block * blockSize, target);
  });
  // None may go on after an error: the caller closes the source.
  await Promise.allSettled(reads);
  await Promise.all(reads);
  return { bytes };
}

function sampleLength(source: BlockSource, block: number): number {
  return Math.min(blockSize, source.sizeBytes - block * blockSize);
}

function isKept(kind: number, parentIds: Uint8Array, index: number): boolean {
  return kind === kindSameAsParent || (kind === kindZero && isHole(parentIds, index));
}

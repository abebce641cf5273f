/** Whether what an earlier run stored of an image may be relied on; docs/storage-format.md 11. */
import type { BlockSource } from '../sources/source.ts';
import { Bits } from './bits.ts';
import type { Catalog } from './catalog.ts';
import { pickSamples } from './change-map.ts';
import type { CheckpointImage } from './checkpoint.ts';
import { idAt, isHole, parseId } from './ids.ts';
import { blockSize, idSize, resumeSamples } from './limits.ts';
import { findChanged } from './read-decision.ts';
import type { StoreContext } from './store-context.ts';
import { blocksPerId, treeBlockCount } from './tree-page.ts';
import { Tree } from './tree-reader.ts';
import { walkCheckpoint } from './tree-walk.ts';

/** Why an image cannot be gone on with, or undefined when it can. Reads a few blocks of the source. */
export async function resumeProblem(
  context: StoreContext,
  image: CheckpointImage,
  source: BlockSource,
  fingerprint: string | undefined,
): Promise<string | undefined> {
  if (fingerprint === undefined) return `${source.name} cannot be told from a changed one`;
  const bytes = image.chunking ? treeBlockCount(image) * blockSize : image.logicalBytes;
  const isSame = image.fingerprint === fingerprint && bytes === source.sizeBytes;
  if (!isSame) return `${source.name} was changed since`;
  const missing = await missingProblem(context, image);
  if (missing !== undefined) return missing;
  const { pool, random, catalog } = context;
  const blocks = pickSamples([], image.doneBlocks, resumeSamples, () => random.fraction());
  const changed = await findChanged(
    { source, pool },
    (block) => idOf(catalog, image, block),
    blocks,
  );
  if (changed === undefined) return undefined;
  return `${source.name} has other bytes at ${changed * blockSize} than were packed`;
}

/** Why a part of what was stored cannot be relied on, or undefined when all can. */
export async function missingProblem(
  context: StoreContext,
  image: CheckpointImage,
): Promise<string | undefined> {
  const { catalog } = context;
  const seen = new Bits(catalog.index.entryCount);
  let problem: string | undefined;
  const check = (ordinal: number): boolean => {
    if (seen.has(ordinal)) return false;
    seen.add(ordinal);
    if (catalog.index.segmentOf(ordinal).isQuarantined) problem ??= 'a collection takes it away';
    return problem === undefined;
  };
  await walkCheckpoint(catalog, '', image, {
    enterPage: check,
    leavePage: () => undefined,
    reach: check,
    fault: (error) => {
      problem ??= error.message;
    },
  });
  return problem;
}

async function idOf(catalog: Catalog, image: CheckpointImage, block: number): Promise<Uint8Array> {
  const { root } = image;
  if (root !== undefined) {
    const tree = new Tree(catalog, parseId(root)!, treeBlockCount(image));
    return await tree.ids(block, 1);
  }
  let first = 0;
  for (const [level, ids] of [...image.open.entries()].reverse()) {
    const reach = blocksPerId(level);
    const index = Math.floor((block - first) / reach);
    if (index >= ids.length / idSize) {
      first += (ids.length / idSize) * reach;
      continue;
    }
    const id = idAt(ids, index);
    if (level === 0 || isHole(id)) return id;
    return await new Tree(catalog, id, reach).ids(block - first - index * reach, 1);
  }
  throw new Error('a block that is done is under an open page');
}

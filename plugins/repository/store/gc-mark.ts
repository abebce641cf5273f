/** Marks what is alive; docs/storage-format.md section 7, step 2. */
import { failedPrecondition, isRpcError, RpcError } from '../../../sdk/errors.ts';
import type { Backend } from './backend.ts';
import { Bits } from './bits.ts';
import type { SegmentRef } from './block-index.ts';
import { Catalog } from './catalog.ts';
import { type Checkpoint, readCheckpoints } from './checkpoint.ts';
import { formatId } from './ids.ts';
import { entryBytes, entryKind, readEntry } from './index-codec.ts';
import { readPins } from './lease.ts';
import type { Manifest } from './manifest.ts';
import { parseManifest } from './manifest-codec.ts';
import { packagesPrefix, stems } from './object-names.ts';
import { readManifest } from './pinned-package.ts';
import type { StoreContext } from './store-context.ts';
import { walkCheckpoint, walkPackage } from './tree-walk.ts';

/** A segment and how much of it is alive. */
export type SegmentUse = {
  segment: SegmentRef;
  /** Else it holds pages and files. */
  hasBlocks: boolean;
  liveEntries: number;
  liveBytes: number;
  /** Ids of the bases of live differences, as text. */
  liveBases: ReadonlySet<string>;
};

/** The share of a segment's bytes that nothing needs. */
export function wear({ segment, liveBytes }: SegmentUse): number {
  return 1 - liveBytes / segment.segmentBytes;
}

export type Marked = {
  catalog: Catalog;
  live: Bits;
  packages: number;
  uses: SegmentUse[];
};

/**
 * Lists manifests, then pins, checkpoints, then indexes, and marks. REPOSITORY_DAMAGED (DATA_LOSS) when
 * something reachable is missing or unreadable: then nothing may be deleted. The caller closes the
 * catalog. `without`: packages to be taken as deleted; `forgotten`: the same of checkpoints.
 */
export async function mark(
  { backend, memoryEntriesMax }: Pick<StoreContext, 'backend' | 'memoryEntriesMax'>,
  signal?: AbortSignal,
  without: ReadonlySet<string> = new Set(),
  forgotten: ReadonlySet<string> = new Set(),
): Promise<Marked> {
  // A package published after this listing was written under a lease that keeps its segments.
  const { manifests, packages } = await readAll(backend, without);
  const checkpoints = await readCheckpoints(backend);
  const catalog = new Catalog(backend, { memoryEntriesMax, checksAll: true });
  try {
    await catalog.refresh();
    const live = await reach(catalog, manifests, signal);
    for (const [key, checkpoint] of checkpoints) {
      if (!forgotten.has(key)) await reachUnfinished(catalog, live, checkpoint);
    }
    return { catalog, live, packages, uses: await measure(catalog, live) };
  } catch (error) {
    await catalog.close();
    throw error;
  }
}

async function reach(
  catalog: Catalog,
  manifests: readonly Manifest[],
  signal?: AbortSignal,
): Promise<Bits> {
  const live = new Bits(catalog.index.entryCount);
  for (const manifest of manifests) {
    await walkPackage(catalog, manifest, {
      enterPage: (ordinal) => {
        const isKnown = live.has(ordinal);
        live.add(ordinal);
        return !isKnown;
      },
      leavePage: () => undefined,
      reach: (ordinal) => live.add(ordinal),
      fault: (error, place) => {
        throw refusal(error, place.packageId);
      },
    });
    signal?.throwIfAborted();
  }
  return live;
}

// What is missing under a checkpoint is no damage: then that run starts anew.
async function reachUnfinished(
  catalog: Catalog,
  live: Bits,
  checkpoint: Checkpoint | undefined,
): Promise<void> {
  for (const image of checkpoint?.images ?? []) {
    await walkCheckpoint(catalog, checkpoint!.packageId, image, {
      enterPage: (ordinal) => {
        const isKnown = live.has(ordinal);
        live.add(ordinal);
        return !isKnown;
      },
      leavePage: () => undefined,
      reach: (ordinal) => live.add(ordinal),
      fault: () => undefined,
    });
  }
}

async function readAll(
  backend: Backend,
  without: ReadonlySet<string>,
): Promise<{ manifests: Manifest[]; packages: number }> {
  const manifests: Manifest[] = [];
  for (const id of stems(await backend.list(packagesPrefix), packagesPrefix, '.manifest')) {
    if (without.has(id)) continue;
    try {
      manifests.push((await readManifest(backend, id)).manifest);
    } catch (error) {
      // Deleted since the listing.
      if (!isRpcError(error, 'PACKAGE_UNKNOWN')) throw refusal(error, id);
    }
  }
  const packages = manifests.length;
  for (const [name, bytes] of await readPins(backend)) {
    const id = name.slice(name.indexOf('/pin-') + '/pin-'.length);
    try {
      manifests.push(parseManifest(bytes, id, backend.path(name)));
    } catch (error) {
      throw refusal(error, id);
    }
  }
  return { manifests, packages };
}

function refusal(error: unknown, packageId: string): unknown {
  const known = RpcError.from(error);
  if (known.reason === 'FORMAT_TOO_NEW') {
    const text = `${known.message}: garbage cannot be told from what a newer program needs`;
    return failedPrecondition('FORMAT_TOO_NEW', text, { ...known.metadata });
  }
  if (known.reason !== 'OBJECT_DAMAGED' && known.reason !== 'OBJECT_MISSING') return error;
  const text =
    `package "${packageId}" is damaged (${known.message}): verify, then delete it or restore ` +
    'the object; nothing was collected';
  return new RpcError(known.code, 'REPOSITORY_DAMAGED', text, { ...known.metadata, packageId });
}

async function measure(catalog: Catalog, live: Bits): Promise<SegmentUse[]> {
  const uses: SegmentUse[] = [];
  for await (const { segment, base, entries } of catalog.index.contents()) {
    let liveEntries = 0;
    let liveBytes = 0;
    const liveBases = new Set<string>();
    for (let index = 0; index < segment.entryCount; index++) {
      if (!live.has(base + index)) continue;
      liveEntries += 1;
      const entry = readEntry(entries, index * entryBytes);
      liveBytes += entry.storedLength;
      if (entry.base !== undefined) liveBases.add(formatId(entry.base));
    }
    const hasBlocks = readEntry(entries, 0).kind === entryKind.block;
    uses.push({ segment, hasBlocks, liveEntries, liveBytes, liveBases });
  }
  return uses;
}

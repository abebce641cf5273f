import { isRpcError, type RpcError } from '../../../sdk/errors.ts';
import { hash } from '../../../wasm/host/blake3.ts';
import type { Backend } from './backend.ts';
import { BlockIndex, type SegmentRef } from './block-index.ts';
import { objectDamaged, objectMissing } from './faults.ts';
import { formatId } from './ids.ts';
import { decodeIndex, entryBytes, indexBytesMax, indexHeaderBytes } from './index-codec.ts';
import { indexesPrefix, indexName, stems } from './object-names.ts';

/** An index file that cannot be used, and why. */
export type DamagedIndex = { segmentId: string; error: RpcError };

export type LoadedIndex = { index: BlockIndex; damaged: DamagedIndex[] };

/** The names of all indexes, as segment ids. */
export async function listIndexes(backend: Backend): Promise<string[]> {
  return stems(await backend.list(indexesPrefix), indexesPrefix, '.index');
}

/**
 * Loads the indexes of these segments; quarantined ones last, so that another copy of an entry is
 * preferred. A damaged index is reported and left out: what needs it will miss it. FORMAT_TOO_NEW
 * is thrown.
 */
export async function loadIndexes(
  backend: Backend,
  segmentIds: readonly string[],
  quarantined: ReadonlySet<string>,
  into?: BlockIndex,
): Promise<LoadedIndex> {
  const damaged: DamagedIndex[] = [];
  const index = into ?? new BlockIndex(await countEntries(backend, segmentIds));
  const inOrder = [
    ...segmentIds.filter((id) => !quarantined.has(id)),
    ...segmentIds.filter((id) => quarantined.has(id)),
  ];
  for (const id of inOrder) {
    try {
      const loaded = await loadIndex(backend, id);
      if (loaded === undefined) continue;
      index.add({ ...loaded.ref, isQuarantined: quarantined.has(id) }, loaded.entries);
    } catch (error) {
      if (!isRpcError(error, 'OBJECT_DAMAGED')) throw error;
      damaged.push({ segmentId: id, error });
    }
  }
  return { index, damaged };
}

/** Reads and checks one index, its digest included. Undefined when it is gone. */
export async function loadIndex(
  backend: Backend,
  segmentId: string,
): Promise<{ ref: SegmentRef; entries: Buffer } | undefined> {
  const name = indexName(segmentId);
  const path = backend.path(name);
  const bytes = await backend.readAll(name, indexBytesMax);
  if (bytes === undefined) return undefined;
  // The version comes first: the digest of a newer format may be another one.
  const { header, entries } = decodeIndex(bytes, path);
  if (formatId(hash(bytes)) !== segmentId) {
    throw objectDamaged(path, 0, 'its BLAKE3 is not its name');
  }
  const ref: SegmentRef = {
    id: segmentId,
    entryCount: header.entryCount,
    segmentBytes: header.segmentBytes,
    nonce: header.nonce,
    isQuarantined: false,
    load: async () => {
      const again = await loadIndex(backend, segmentId);
      if (again === undefined) throw objectMissing(path);
      return again.entries;
    },
  };
  return { ref, entries };
}

async function countEntries(backend: Backend, segmentIds: readonly string[]): Promise<number> {
  let count = 0;
  for (const id of segmentIds) {
    const size = (await backend.size(indexName(id))) ?? 0;
    count += Math.max(0, Math.floor((size - indexHeaderBytes) / entryBytes));
  }
  return count;
}

import { isRpcError, type RpcError } from '../../../sdk/errors.ts';
import { hash } from '../../../wasm/host/blake3.ts';
import type { Backend } from './backend.ts';
import { BlockIndex, type SegmentRef } from './block-index.ts';
import { objectDamaged, objectMissing } from './faults.ts';
import { formatId } from './ids.ts';
import { decodeIndex, entryBytes, indexBytesMax, indexHeaderBytes } from './index-codec.ts';
import { indexesPrefix, indexName, stems } from './object-names.ts';
import { readFully } from './piece-cache.ts';

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

/** Memory for one index after the other. */
export type IndexBuffer = { bytes: Uint8Array };

/**
 * Reads and checks one index, its digest included. Undefined when it is gone. With a buffer the
 * entries hold until its next use: hundreds of indexes read one after the other would otherwise
 * fill the memory sooner than it is collected.
 */
export async function loadIndex(
  backend: Backend,
  segmentId: string,
  buffer?: IndexBuffer,
): Promise<{ ref: SegmentRef; entries: Buffer } | undefined> {
  const name = indexName(segmentId);
  const path = backend.path(name);
  const bytes = buffer
    ? await readInto(backend, name, buffer)
    : await backend.readAll(name, indexBytesMax);
  if (bytes === undefined) return undefined;
  // The version comes first: the digest of a newer format may be another one.
  const { header, entries } = decodeIndex(bytes, path);
  if (formatId(hash(bytes)) !== segmentId) {
    throw objectDamaged(path, 0, 'its BLAKE3 is not its name');
  }
  const { entryCount, segmentBytes } = header;
  const nonce = new Uint8Array(header.nonce);
  return { ref: segmentRef(backend, { id: segmentId, entryCount, segmentBytes, nonce }), entries };
}

/** A segment of which the index can be read again. */
export function segmentRef(
  backend: Backend,
  known: Pick<SegmentRef, 'id' | 'entryCount' | 'segmentBytes' | 'nonce'>,
): SegmentRef {
  const load = async () => {
    const again = await loadIndex(backend, known.id);
    if (again === undefined) throw objectMissing(backend.path(indexName(known.id)));
    return again.entries;
  };
  return { ...known, isQuarantined: false, load };
}

async function readInto(
  backend: Backend,
  name: string,
  buffer: IndexBuffer,
): Promise<Uint8Array | undefined> {
  const file = await backend.openFile(name);
  if (file === undefined) return undefined;
  try {
    const { fd, sizeBytes } = file;
    const path = backend.path(name);
    if (sizeBytes > indexBytesMax) {
      throw objectDamaged(path, 0, `is longer than ${indexBytesMax} bytes`);
    }
    if (buffer.bytes.length < sizeBytes) buffer.bytes = new Uint8Array(sizeBytes);
    const bytes = buffer.bytes.subarray(0, sizeBytes);
    await readFully(fd, bytes, 0, path);
    return bytes;
  } finally {
    await file.close();
  }
}

/** How many entries the indexes have, from their sizes. */
export async function countEntries(
  backend: Backend,
  segmentIds: readonly string[],
): Promise<number> {
  let count = 0;
  for (const id of segmentIds) {
    const size = (await backend.size(indexName(id))) ?? 0;
    count += Math.max(0, Math.floor((size - indexHeaderBytes) / entryBytes));
  }
  return count;
}

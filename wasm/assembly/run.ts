// One call for a run of up to 64 blocks, so that the host never crosses the boundary per block.
import { isSameId, isZero } from './blocks';
import { hashSubtree, hashScratchSize } from './blake3';
import { compress, tableSize } from './lz4-compress';
import { decompress } from './lz4-decompress';

const blockSize: u32 = 65536;
const idSize: usize = 32;
/** Kinds of blocks; the host has the same numbers. */
const kindZero: u8 = 0;
const kindSameAsParent: u8 = 1;
const kindLz4: u8 = 2;
const kindRaw: u8 = 3;
const kindLeft: u8 = 4;
const kindPlain: u8 = 7;
/** Which new blocks encodeRun leaves to the host: those that a parent has a block for, or all. */
const leaveChanged: u32 = 1;
const leaveAll: u32 = 2;

// Work area of an instance at `scratch`: the hash's, then LZ4's table.
const tableOffset: usize = hashScratchSize;
/** Bytes that an instance needs at `scratch`; no two instances may share them. */
export const scratchSize: u32 = hashScratchSize + tableSize;

// Stores a block that is new, and returns how many bytes it takes.
function storeNew(block: usize, target: usize, scratch: usize, kind: usize, wantsLz4: bool): u32 {
  if (wantsLz4) {
    const size = compress(block, blockSize, target, scratch + tableOffset);
    if (size < blockSize) {
      store<u8>(kind, kindLz4);
      return size;
    }
  }
  store<u8>(kind, kindRaw);
  memory.copy(target, block, blockSize);
  return blockSize;
}

// @ts-ignore: decorator
@inline
function isHole(id: usize): bool {
  return !(load<u64>(id) | load<u64>(id, 8) | load<u64>(id, 16) | load<u64>(id, 24));
}

// Whether a new block is left to the host, given its parent's id or 0.
function isLeft(leave: u32, parentId: usize): bool {
  return leave == leaveAll || (leave == leaveChanged && parentId != 0 && !isHole(parentId));
}

/**
 * Encodes `count` blocks at `input`. Fills one kind (u8), id (32 bytes), offset and length (u32; in
 * `output`) per block and returns the bytes used in `output`, which needs 512 bytes more than the
 * blocks have. `parentIds`: 32 bytes a block or 0 for none; a block whose id is the parent's is
 * neither compressed nor stored. `leave`: 1 or 2 leaves changed or all new blocks to the host.
 */
export function encodeRun(
  input: usize, count: u32, parentIds: usize, wantsLz4: bool, leave: u32,
  output: usize, kinds: usize, ids: usize, offsets: usize, lengths: usize, scratch: usize,
): u32 {
  let used: u32 = 0;
  for (let i: usize = 0; i < count; i++) {
    const block = input + i * blockSize;
    const id = ids + i * idSize;
    let size: u32 = 0;
    if (isZero(block, blockSize)) {
      memory.fill(id, 0, idSize);
      store<u8>(kinds + i, kindZero);
    } else {
      hashSubtree(block, blockSize, 0, true, id, scratch);
      const parentId: usize = parentIds ? parentIds + i * idSize : 0;
      if (parentId && isSameId(id, parentId)) store<u8>(kinds + i, kindSameAsParent);
      else if (isLeft(leave, parentId)) store<u8>(kinds + i, kindLeft);
      else size = storeNew(block, output + used, scratch, kinds + i, wantsLz4);
    }
    store<u32>(offsets + i * 4, used);
    store<u32>(lengths + i * 4, size);
    used += size;
  }
  return used;
}

// Decodes one block and checks its digest. Returns 0, 1 for malformed bytes, 2 for a digest that
// differs.
function decodeBlock(
  kind: u8, stored: usize, length: u32, target: usize, id: usize, scratch: usize,
): i32 {
  if (kind == kindZero) {
    memory.fill(target, 0, blockSize);
    return 0;
  }
  if (kind == kindPlain) {
    // The host put the plain bytes there already.
  } else if (kind == kindLz4) {
    if (decompress(stored, length, target, blockSize) != blockSize) return 1;
  } else {
    if (kind != kindRaw || length != blockSize) return 1;
    memory.copy(target, stored, blockSize);
  }
  const digest = scratch + tableOffset;
  hashSubtree(target, blockSize, 0, true, digest, scratch);
  return isSameId(digest, id) ? 0 : 2;
}

/**
 * Decodes `count` stored blocks, described as encodeRun does, to consecutive blocks at `output`,
 * and checks each against its id; those of kind 7 are there already and are only checked. Returns
 * 0, or for the first bad block -(4 * index + 1) when its bytes are malformed and -(4 * index + 2)
 * when its digest is not the id.
 */
export function decodeRun(
  input: usize, count: u32, output: usize,
  kinds: usize, ids: usize, offsets: usize, lengths: usize, scratch: usize,
): i32 {
  for (let i: usize = 0; i < count; i++) {
    const fault = decodeBlock(
      load<u8>(kinds + i), input + load<u32>(offsets + i * 4), load<u32>(lengths + i * 4),
      output + i * blockSize, ids + i * idSize, scratch,
    );
    if (fault) return -(4 * <i32>i + fault);
  }
  return 0;
}

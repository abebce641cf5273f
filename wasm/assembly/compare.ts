// Encoding beside the older image: a block that is equal there is neither hashed nor compressed.
import { isEqual, isSameId, isZero } from './blocks';
import { encodeRun } from './run';

const blockSize: u32 = 65536;
const idSize: usize = 32;
/** Kinds of blocks; the host has the same numbers. */
const kindZero: u8 = 0;
const kindSameAsParent: u8 = 1;
const kindUndecided: u8 = 255;

// An id of the parent is taken only where the parent has a block: data are never called a hole.
function kindOf(block: usize, older: usize, parentId: usize, holeId: usize): u8 {
  if (isZero(block, blockSize)) return kindZero;
  if (isSameId(parentId, holeId) || !isEqual(block, older, blockSize)) return kindUndecided;
  return kindSameAsParent;
}

/**
 * As encodeRun, with the older image's blocks in `output`, which are overwritten. A block that is
 * equal to the older one gets the id that the parent has for it, unhashed.
 */
export function encodeDifferent(
  input: usize, count: u32, parentIds: usize, wantsLz4: bool, leave: u32,
  output: usize, kinds: usize, ids: usize, offsets: usize, lengths: usize, scratch: usize,
): u32 {
  memory.fill(scratch, 0, idSize);
  // All are compared before the first is stored over them.
  for (let i: usize = 0; i < count; i++) {
    const parentId = parentIds + i * idSize;
    store<u8>(kinds + i, kindOf(input + i * blockSize, output + i * blockSize, parentId, scratch));
  }
  let used: u32 = 0;
  for (let i: usize = 0; i < count; ) {
    let end = i;
    while (end < count && load<u8>(kinds + end) == kindUndecided) end++;
    if (end > i) {
      const size = encodeRun(
        input + i * blockSize, u32(end - i), parentIds + i * idSize, wantsLz4, leave,
        output + used, kinds + i, ids + i * idSize, offsets + i * 4, lengths + i * 4, scratch,
      );
      for (; i < end; i++) store<u32>(offsets + i * 4, load<u32>(offsets + i * 4) + used);
      used += size;
    }
    if (i == count) break;
    // A zero block has the id of a hole, whatever the parent says.
    if (load<u8>(kinds + i) == kindZero) memory.fill(ids + i * idSize, 0, idSize);
    else memory.copy(ids + i * idSize, parentIds + i * idSize, idSize);
    store<u32>(offsets + i * 4, used);
    store<u32>(lengths + i * 4, 0);
    i++;
  }
  return used;
}

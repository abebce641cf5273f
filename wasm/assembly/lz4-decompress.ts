// LZ4 block format, decoding. The input may be hostile: every length and offset is checked before it is used.

/** The result for bytes that are not an LZ4 block or that decode to more than the capacity. */
export const malformed: i32 = -1;
// Bytes that one step of the fast path may read or write beyond what it needs.
const margin: usize = 32;

// For a match nearer than 16 bytes: which byte of the last ones to repeat, by offset. Row 0 is never used.
const repeats: usize = memory.data<u8>([
  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
  0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1,
  0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0,
  0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3,
  0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0,
  0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5, 0, 1, 2, 3,
  0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6, 0, 1,
  0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7,
  0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 2, 3, 4, 5, 6,
  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5,
  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 1, 2, 3, 4,
  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0, 1, 2, 3,
  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 1, 2,
  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 0, 1,
  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0,
]);
// How far the repeated pattern may be moved at a time: the largest multiple of the offset up to 16.
const strides: usize = memory.data<u8>([0, 16, 16, 15, 16, 15, 12, 14, 16, 9, 10, 11, 12, 13, 14, 15]);

// Copies a match with room of `margin` bytes behind it. May write 15 bytes beyond `length`.
// @ts-ignore: decorator
@inline
function copyMatchWild(target: usize, offset: u32, length: u32): void {
  const end = target + length;
  if (offset >= 16) {
    let from = target - offset;
    do {
      v128.store(target, v128.load(from));
      target += 16;
      from += 16;
    } while (target < end);
    return;
  }
  const pattern = i8x16.swizzle(v128.load(target - offset), v128.load(repeats + (<usize>offset << 4)));
  const stride = <usize>load<u8>(strides + offset);
  do {
    v128.store(target, pattern);
    target += stride;
  } while (target < end);
}

// Copies a match near the end of the output, byte by byte, because source and target may overlap.
function copyMatchExact(target: usize, offset: u32, length: u32): void {
  const end = target + length;
  for (; target < end; target++) store<u8>(target, load<u8>(target - offset));
}

/**
 * Decompresses a block and returns the size of the result (0 to `capacity`), or `malformed`. Never reads outside
 * the `length` bytes (below 8 MiB) at `source` nor writes outside the `capacity` bytes at `target`, whatever the bytes are.
 */
export function decompress(source: usize, length: u32, target: usize, capacity: u32): i32 {
  const sourceEnd = source + length;
  const targetEnd = target + capacity;
  let out = target;
  while (source < sourceEnd) {
    const token = <u32>load<u8>(source++);
    let literals = token >> 4;
    if (literals == 15) {
      let more: u32;
      do {
        if (source >= sourceEnd) return malformed;
        more = <u32>load<u8>(source++);
        literals += more;
      } while (more == 255);
    }
    if (source + literals + margin <= sourceEnd && out + literals + margin <= targetEnd) {
      for (let at: usize = 0; at < literals; at += 16) v128.store(out + at, v128.load(source + at));
    } else {
      if (source + literals > sourceEnd || out + literals > targetEnd) return malformed;
      memory.copy(out, source, literals);
    }
    source += literals;
    out += literals;
    if (source == sourceEnd) return <i32>(out - target);

    if (source + 2 > sourceEnd) return malformed;
    const offset = <u32>load<u16>(source);
    source += 2;
    if (offset == 0 || offset > <u32>(out - target)) return malformed;
    let match = token & 15;
    if (match == 15) {
      let more: u32;
      do {
        if (source >= sourceEnd) return malformed;
        more = <u32>load<u8>(source++);
        match += more;
      } while (more == 255);
    }
    match += 4;
    if (out + match + margin <= targetEnd) {
      copyMatchWild(out, offset, match);
    } else {
      if (out + match > targetEnd) return malformed;
      copyMatchExact(out, offset, match);
    }
    out += match;
  }
  // The input ended where a sequence should begin: the last sequence has literals only, this one had a match.
  return malformed;
}

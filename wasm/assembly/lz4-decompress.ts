// LZ4 block format, decoding. The input may be hostile: every length and offset is checked before
// it is used.

/** The result for bytes that are not an LZ4 block or that decode to more than the capacity. */
export const malformed: i32 = -1;
// How far from the ends the fast loop stops: it reads and writes whole vectors without looking at
// each length.
const sourceMargin: usize = 32;
const targetMargin: usize = 64;

// For a match nearer than 16 bytes: which byte of the last ones to repeat, by offset. Row 0 is
// never used.
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
const strides: usize = memory.data<u8>([
  0, 16, 16, 15, 16, 15, 12, 14, 16, 9, 10, 11, 12, 13, 14, 15,
]);

// Copies a match nearer than 16 bytes, which overlaps itself. May write 15 bytes beyond `length`.
// @ts-ignore: decorator
@inline
function repeatNear(target: usize, offset: u32, length: u32): void {
  const end = target + length;
  const last = v128.load(target - offset);
  const pattern = i8x16.swizzle(last, v128.load(repeats + (<usize>offset << 4)));
  const stride = <usize>load<u8>(strides + offset);
  do {
    v128.store(target, pattern);
    target += stride;
  } while (target < end);
}

// Copies a match of up to 18 bytes, which most are. May write up to 16 bytes whatever `length` is.
// @ts-ignore: decorator
@inline
function copyShort(target: usize, offset: u32, length: u32): void {
  if (offset < 16) return repeatNear(target, offset, length);
  const from = target - offset;
  v128.store(target, v128.load(from));
  if (length > 16) store<u16>(target, load<u16>(from, 16), 16);
}

// Copies a match of 19 bytes or more. May write 15 bytes beyond `length`, and 48 whatever it is.
// @ts-ignore: decorator
@inline
function copyLong(target: usize, offset: u32, length: u32): void {
  if (offset < 16) return repeatNear(target, offset, length);
  const from = target - offset;
  v128.store(target, v128.load(from));
  v128.store(target, v128.load(from, 16), 16);
  v128.store(target, v128.load(from, 32), 32);
  for (let at: usize = 48; at < length; at += 16) v128.store(target + at, v128.load(from + at));
}

// Decodes the rest from a sequence at `next` on, checking every byte.
function decompressTail(
  next: usize, sourceEnd: usize, out: usize, target: usize, targetEnd: usize,
): i32 {
  while (next < sourceEnd) {
    const token = <u32>load<u8>(next++);
    let more: u32;
    let literals = token >> 4;
    if (literals == 15) {
      do {
        if (next >= sourceEnd) return malformed;
        more = <u32>load<u8>(next++);
        literals += more;
      } while (more == 255);
    }
    if (next + literals > sourceEnd || out + literals > targetEnd) return malformed;
    memory.copy(out, next, literals);
    next += literals;
    out += literals;
    if (next == sourceEnd) return <i32>(out - target);

    if (next + 2 > sourceEnd) return malformed;
    const offset = <u32>load<u16>(next);
    next += 2;
    if (offset == 0 || offset > <u32>(out - target)) return malformed;
    let match = token & 15;
    if (match == 15) {
      do {
        if (next >= sourceEnd) return malformed;
        more = <u32>load<u8>(next++);
        match += more;
      } while (more == 255);
    }
    match += 4;
    if (out + match > targetEnd) return malformed;
    // Byte by byte, because a match may overlap itself.
    for (const end = out + match; out < end; out++) store<u8>(out, load<u8>(out - offset));
  }
  // The input ended where a sequence should begin: the last sequence has literals only, this one
  // had a match.
  return malformed;
}

/**
 * Decompresses a block and returns the size of the result (0 to `capacity`), or `malformed`. Never
 * reads outside the `length` bytes (below 8 MiB) at `source` nor writes outside the `capacity`
 * bytes at `target`, whatever the bytes are.
 */
export function decompress(source: usize, length: u32, target: usize, capacity: u32): i32 {
  const sourceEnd = source + length;
  const targetEnd = target + capacity;
  let next = source;
  let out = target;
  const isLong = <usize>length > sourceMargin && <usize>capacity > targetMargin;
  const nextMax = isLong ? sourceEnd - sourceMargin : 0;
  const outMax = isLong ? targetEnd - targetMargin : 0;
  // A sequence that is near an end, or wrong, is left to the tail, which starts again at its token.
  while (next < nextMax && out < outMax) {
    const token = <u32>load<u8>(next);
    let more: u32;
    let from = next + 1;
    let literals = token >> 4;
    if (literals != 15) {
      v128.store(out, v128.load(from));
    } else {
      do {
        more = <u32>load<u8>(from++);
        literals += more;
      } while (more == 255 && from < nextMax);
      if (from + literals > nextMax || out + literals > outMax) break;
      for (let at: usize = 0; at < literals; at += 16) v128.store(out + at, v128.load(from + at));
    }
    from += literals;
    const to = out + literals;
    const offset = <u32>load<u16>(from);
    from += 2;
    // One comparison for two: offset 0 becomes the largest number.
    if (offset - 1 >= <u32>(to - target)) break;
    let match = token & 15;
    if (match != 15) {
      match += 4;
      copyShort(to, offset, match);
    } else {
      do {
        more = <u32>load<u8>(from++);
        match += more;
      } while (more == 255 && from < nextMax);
      match += 4;
      if (more == 255 || to + match > outMax) break;
      copyLong(to, offset, match);
    }
    next = from;
    out = to + match;
  }
  return decompressTail(next, sourceEnd, out, target, targetEnd);
}

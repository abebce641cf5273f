// Decodes a difference; docs/storage-format.md 2.4.1 fixes the bytes. They may be hostile: every
// length and place is checked before it is used.

const blockSize: usize = 65536;
const matchMin: usize = 4;
// A number takes at most three bytes: more than a block never follows.
const numberShiftMax: u32 = 14;

// The place behind the number that was read last, or 0 when it was malformed. One instance is one
// thread.
let after: usize = 0;

function readNumber(next: usize, end: usize): usize {
  let value: usize = 0;
  for (let shift: u32 = 0; shift <= numberShiftMax && next < end; shift += 7) {
    const byte = <usize>load<u8>(next++);
    value |= (byte & 127) << shift;
    if (byte < 128) {
      after = next;
      return value;
    }
  }
  after = 0;
  return 0;
}

// Copies forwards, also where the parts overlap. Never touches a byte at or behind `end`.
function copyMatch(target: usize, from: usize, length: usize, end: usize): void {
  let at: usize = 0;
  if (target - from >= 16) {
    for (; at + 16 <= length; at += 16) v128.store(target + at, v128.load(from + at));
    if (at < length && target + at + 16 <= end) {
      v128.store(target + at, v128.load(from + at));
      return;
    }
  }
  for (; at < length; at++) store<u8>(target + at, load<u8>(from + at));
}

/**
 * Decodes `length` bytes at `source` with the base at `window` to the 64 KiB behind the base.
 * Returns 1 when they are exactly one block, else 0. Reads nothing but these bytes and the window
 * and writes nothing but the second half of the window, whatever the bytes are.
 */
export function deltaDecompress(source: usize, length: u32, window: usize): i32 {
  const sourceEnd = source + length;
  const block = window + blockSize;
  const end = block + blockSize;
  let next = source;
  let out = block;
  while (out < end) {
    if (next >= sourceEnd) return 0;
    const token = <usize>load<u8>(next++);
    let literals = (token >> 4) & 7;
    if (literals == 7) {
      literals += readNumber(next, sourceEnd);
      next = after;
      if (next == 0) return 0;
    }
    if (literals > sourceEnd - next || literals > end - out) return 0;
    memory.copy(out, next, literals);
    next += literals;
    out += literals;
    if (out == end) break;

    if (sourceEnd - next < 2) return 0;
    const distance = <usize>load<u16>(next);
    next += 2;
    let match = token & 15;
    if (match == 15) {
      match += readNumber(next, sourceEnd);
      next = after;
      if (next == 0) return 0;
    }
    match += matchMin;
    if (match > end - out) return 0;
    let from = out - distance;
    if (token >> 7) {
      const place = (out - block - distance) & (blockSize - 1);
      if (match > blockSize - place) return 0;
      from = window + place;
    } else if (distance == 0 || distance > out - block) return 0;
    copyMatch(out, from, match, end);
    out += match;
  }
  return i32(next == sourceEnd);
}

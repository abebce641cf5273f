// A block as the difference from a base; docs/storage-format.md 2.4.1 fixes the bytes. The base and
// the block lie one behind the other in a window of two blocks.

const blockSize: usize = 65536;
const entryBits: u64 = 14;
/** Bytes of the two tables of positions: one of the base, one of the block. */
export const deltaTableSize: u32 = 2 << (<u32>entryBits + 1);
const matchMin: u32 = 4;
// Positions of the base between two that are entered: matches are extended backwards, so those in
// between are found as well.
const baseStep: usize = 4;
// A match at the same place of the base that is this long is taken without a look elsewhere.
const goodMatch: u32 = 32;
// The search steps one byte further after every 2^skipTrigger misses.
const skipTrigger: u32 = 6;
// Most bytes of a token, two numbers and a distance.
const sequenceOverhead: usize = 9;

// @ts-ignore: decorator
@inline
function entry(position: usize, table: usize): usize {
  const hash = ((load<u64>(position) << 16) * 0xcf1bbcdcb7a56463) >> (64 - entryBits);
  return table + (<usize>hash << 1);
}

// How many bytes at `a` and `b` are the same, `a` staying below `end`.
function countSame(a: usize, b: usize, end: usize): u32 {
  const start = a;
  while (a + 8 <= end) {
    const difference = load<u64>(a) ^ load<u64>(b);
    if (difference) return <u32>(a - start) + (<u32>ctz(difference) >> 3);
    a += 8;
    b += 8;
  }
  while (a < end && load<u8>(a) == load<u8>(b)) {
    a++;
    b++;
  }
  return <u32>(a - start);
}

// Seven bits a byte, the lowest first; all but the last byte have the top bit.
function writeNumber(target: usize, rest: u32): usize {
  while (rest >= 128) {
    store<u8>(target++, (rest & 127) | 128);
    rest >>= 7;
  }
  store<u8>(target++, rest);
  return target;
}

// Writes the token, what does not fit into it of the number of literals, and the literals.
function writeLiterals(out: usize, literals: usize, length: u32, low: u32): usize {
  store<u8>(out, (min(length, 7) << 4) | low);
  out++;
  if (length >= 7) out = writeNumber(out, length - 7);
  memory.copy(out, literals, length);
  return out + length;
}

function enterBase(window: usize, table: usize): void {
  for (let at: usize = 0; at <= blockSize - 8; at += baseStep) {
    store<u16>(entry(window + at, table), <u16>at);
  }
}

/**
 * Writes the difference of the block at `window` + 64 KiB from the base at `window`, at most
 * `capacity` bytes at `target`, and returns its size, or 0 when it does not fit. Uses
 * `deltaTableSize` bytes at `table`.
 */
export function deltaCompress(window: usize, target: usize, capacity: u32, table: usize): u32 {
  const baseTable = table + deltaTableSize / 2;
  memory.fill(table, 0, deltaTableSize);
  enterBase(window, baseTable);
  const block = window + blockSize;
  const end = block + blockSize;
  const outEnd = target + capacity;
  let out = target;
  let position = block;
  let literals = block;
  let tries: u32 = 1 << skipTrigger;
  while (position <= end - 8) {
    // What changed is mostly a part of what stays where it was.
    let match: usize = position - blockSize;
    let length = countSame(position, match, end);
    const slot = entry(position, table);
    if (length < goodMatch) {
      const other: usize = window + load<u16>(entry(position, baseTable));
      const otherLength = countSame(position, other, position + min(end - position, block - other));
      if (otherLength > length) {
        length = otherLength;
        match = other;
      }
      const earlier: usize = block + load<u16>(slot);
      if (earlier < position) {
        const earlierLength = countSame(position, earlier, end);
        if (earlierLength > length) {
          length = earlierLength;
          match = earlier;
        }
      }
    }
    store<u16>(slot, <u16>(position - block));
    if (length < matchMin) {
      position += tries++ >> skipTrigger;
      continue;
    }
    tries = 1 << skipTrigger;
    const isBase = match < block;
    const start = isBase ? window : block;
    while (position > literals && match > start && load<u8>(position - 1) == load<u8>(match - 1)) {
      position--;
      match--;
      length++;
    }
    const count = <u32>(position - literals);
    if (out + count + sequenceOverhead > outEnd) return 0;
    const low = min(length - matchMin, 15) | (<u32>isBase << 7);
    out = writeLiterals(out, literals, count, low);
    store<u16>(out, <u16>(position - match));
    out += 2;
    if (length - matchMin >= 15) out = writeNumber(out, length - matchMin - 15);
    position += length;
    literals = position;
    if (position <= end - 8) {
      store<u16>(entry(position - 2, table), <u16>(position - 2 - block));
    }
  }
  const count = <u32>(end - literals);
  if (count == 0) return <u32>(out - target);
  if (out + count + sequenceOverhead > outEnd) return 0;
  return <u32>(writeLiterals(out, literals, count, 0) - target);
}

// LZ4 block format, one block of at most 64 KiB, so that every position fits into 16 bits.

/** Bytes of the table of positions. */
export const tableSize: u32 = 16384 * 2;
// Of a match: its shortest length, and how far from the end of the block its start and end must
// stay (format).
const matchMin: u32 = 4;
const matchStartMargin: u32 = 12;
const matchEndMargin: u32 = 5;
// The search steps one byte further after every 2^skipTrigger misses: data that does not compress
// costs little.
const skipTrigger: u32 = 6;

// Five and a half bytes decide the entry. With fewer there are more matches, but short ones, which
// save a byte or two and cost a misprediction each; a larger table gives back what that misses.
// @ts-ignore: decorator
@inline
function entry(position: usize, table: usize): usize {
  return table + (<usize>(((load<u64>(position) << 20) * 0xcf1bbcdcb7a56463) >> 50) << 1);
}

// How many bytes at `a` and `b` are the same, `a` staying below `end`.
// @ts-ignore: decorator
@inline
function countSame(a: usize, b: usize, end: usize): u32 {
  const start = a;
  // Most matches end within the first 16 bytes: no loop for them.
  if (a + 16 <= end) {
    const first = load<u64>(a) ^ load<u64>(b);
    if (first) return <u32>ctz(first) >> 3;
    const second = load<u64>(a, 8) ^ load<u64>(b, 8);
    if (second) return 8 + (<u32>ctz(second) >> 3);
    a += 16;
    b += 16;
  }
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

// Writes what of a length does not fit into the token's four bits: bytes of 255 and a smaller last
// one.
function writeLength(target: usize, rest: u32): usize {
  while (rest >= 255) {
    store<u8>(target++, 255);
    rest -= 255;
  }
  store<u8>(target++, rest);
  return target;
}

// Writes the token's literal part, its length and the literals; returns the end. May write 15 bytes
// beyond it.
// @ts-ignore: decorator
@inline
function writeLiterals(token: usize, literals: usize, length: u32): usize {
  let target = token + 1;
  if (length < 15) {
    store<u8>(token, length << 4);
    v128.store(target, v128.load(literals));
    return target + length;
  }
  store<u8>(token, 15 << 4);
  target = writeLength(target, length - 15);
  for (let at: u32 = 0; at < length; at += 16) v128.store(target + at, v128.load(literals + at));
  return target + length;
}

// Writes what is left as literals and returns the size of the whole block.
function finish(target: usize, token: usize, literals: usize, end: usize): u32 {
  const length = <u32>(end - literals);
  store<u8>(token, min(length, 15) << 4);
  const out = length < 15 ? token + 1 : writeLength(token + 1, length - 15);
  memory.copy(out, literals, length);
  return <u32>(out + length - target);
}

/**
 * Compresses `length` bytes (0 to 65536) and returns the size of the result, which may be larger
 * than the input. Writes at most length + length / 255 + 32 bytes at `target`, reads at most 15
 * bytes beyond the input, and uses `tableSize` bytes at `table`.
 */
export function compress(source: usize, length: u32, target: usize, table: usize): u32 {
  const end = source + length;
  let literals = source;
  let token = target;
  if (length > matchStartMargin) {
    memory.fill(table, 0, tableSize);
    const searchEnd = end - matchStartMargin;
    const matchEnd = end - matchEndMargin;
    let position = source + 1;
    let slot = entry(position, table);
    while (true) {
      let match: usize = 0;
      let next = position;
      let step: u32 = 1;
      let tries: u32 = 1 << skipTrigger;
      do {
        position = next;
        next += step;
        step = tries++ >> skipTrigger;
        if (next > searchEnd) return finish(target, token, literals, end);
        match = source + load<u16>(slot);
        store<u16>(slot, <u16>(position - source));
        slot = entry(next, table);
      } while (load<u32>(match) != load<u32>(position));
      while (
        position > literals && match > source && load<u8>(position - 1) == load<u8>(match - 1)
      ) {
        position--;
        match--;
      }
      let out = writeLiterals(token, literals, <u32>(position - literals));
      while (true) {
        store<u16>(out, <u16>(position - match));
        out += 2;
        // Two positions within each match are entered without a search: here and at its end.
        store<u16>(entry(position + 2, table), <u16>(position + 2 - source));
        const rest = countSame(position + matchMin, match + matchMin, matchEnd);
        position += matchMin + rest;
        store<u8>(token, load<u8>(token) | min(rest, 15));
        if (rest >= 15) out = writeLength(out, rest - 15);
        literals = position;
        token = out;
        if (position > searchEnd) return finish(target, token, literals, end);
        store<u16>(entry(position - 2, table), <u16>(position - 2 - source));
        slot = entry(position, table);
        match = source + load<u16>(slot);
        store<u16>(slot, <u16>(position - source));
        if (load<u32>(match) != load<u32>(position)) break;
        store<u8>(token, 0);
        out = token + 1;
      }
      position++;
      slot = entry(position, table);
    }
  }
  return finish(target, token, literals, end);
}

// A block of 64 KiB as the difference from a base, written to be read. It is the definition that
// the fast code must agree with; docs/storage-format.md says the same in words.
//
// A difference is a list of sequences. A sequence is: a token (from the top: one bit that is set
// when its match lies in the base, three bits with the number of literals, four bits with the
// length of the match minus 4), more of the number of literals when its bits are 7, the literals, a
// 16-bit distance (little-endian), more of the length when its bits are 15. More is a number in
// groups of 7 bits, the lowest first, all but the last with the top bit; at most three bytes. The
// list ends where the block is full: after a match, or after literals, and then the rest of the
// token means nothing and no distance follows.

const blockSize = 65536;
const matchMin = 4;
const numberBytesMax = 3;

/** Decodes a difference, or returns undefined when it is malformed. */
export function referenceDeltaDecode(base: Uint8Array, delta: Uint8Array): Uint8Array | undefined {
  const out: number[] = [];
  let at = 0;

  function readNumber(): number | undefined {
    let value = 0;
    for (let count = 0; count < numberBytesMax; count++) {
      const byte = delta[at++];
      if (byte === undefined) return undefined;
      value += (byte & 127) * 128 ** count;
      if (byte < 128) return value;
    }
    return undefined;
  }

  while (out.length < blockSize) {
    const token = delta[at++];
    if (token === undefined) return undefined;
    let literals: number | undefined = (token >> 4) & 7;
    if (literals === 7) {
      const more = readNumber();
      if (more === undefined) return undefined;
      literals += more;
    }
    if (at + literals > delta.length || out.length + literals > blockSize) return undefined;
    for (let i = 0; i < literals; i++) out.push(delta[at++]!);
    if (out.length === blockSize) break;

    if (at + 2 > delta.length) return undefined;
    const distance = delta[at]! + delta[at + 1]! * 256;
    at += 2;
    let length = (token & 15) + matchMin;
    if ((token & 15) === 15) {
      const more = readNumber();
      if (more === undefined) return undefined;
      length += more;
    }
    if (out.length + length > blockSize) return undefined;
    if (token >> 7) {
      // Distance 0 is the same place of the base; what would lie before it begins at its end.
      const from = (out.length - distance + blockSize) % blockSize;
      if (from + length > blockSize) return undefined;
      out.push(...base.subarray(from, from + length));
    } else {
      if (distance === 0 || distance > out.length) return undefined;
      for (let i = 0; i < length; i++) out.push(out[out.length - distance]!);
    }
  }
  return at === delta.length ? Uint8Array.from(out) : undefined;
}

/** Encodes a block as literals and matches at the same place of the base only. */
export function referenceDeltaEncode(base: Uint8Array, block: Uint8Array): Uint8Array {
  const out: number[] = [];
  let literalsAt = 0;
  let at = 0;

  function writeNumber(value: number): void {
    let rest = value;
    for (; rest >= 128; rest = Math.floor(rest / 128)) out.push((rest % 128) + 128);
    out.push(rest);
  }

  function writeLiterals(low: number): void {
    const count = at - literalsAt;
    out.push((Math.min(count, 7) << 4) | low);
    if (count >= 7) writeNumber(count - 7);
    for (const byte of block.subarray(literalsAt, at)) out.push(byte);
  }

  while (at < blockSize) {
    let length = 0;
    while (at + length < blockSize && base[at + length] === block[at + length]) length += 1;
    if (length < matchMin) {
      at += 1;
      continue;
    }
    writeLiterals(128 | Math.min(length - matchMin, 15));
    out.push(0, 0);
    if (length - matchMin >= 15) writeNumber(length - matchMin - 15);
    at += length;
    literalsAt = at;
  }
  if (literalsAt < blockSize) writeLiterals(0);
  return Uint8Array.from(out);
}

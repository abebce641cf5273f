// The LZ4 block format, written to be read. It is the definition that the fast code must agree
// with.
//
// A block is a list of sequences. A sequence is: a token (literal length in the high four bits,
// match length minus 4 in the low four), more bytes of literal length when the four bits are 15,
// the literals, a 16-bit offset (little-endian, 1 to 65535, how far back the match begins), more
// bytes of match length when those bits are 15. The last sequence ends after its literals. An
// encoder keeps the last 5 bytes literal and starts no match in the last 12.

const matchMin = 4;
const offsetMax = 65535;
const matchStartMargin = 12;
const matchEndMargin = 5;

/**
 * Decodes a block, or returns undefined when it is malformed or decodes to more than `maxLength`
 * bytes.
 */
export function referenceDecompress(block: Uint8Array, maxLength: number): Uint8Array | undefined {
  const out: number[] = [];
  let at = 0;

  // A length of 15 goes on in further bytes, up to and including the first that is not 255.
  function readLength(bits: number): number | undefined {
    let length = bits;
    if (bits < 15) return length;
    for (;;) {
      const more = block[at++];
      if (more === undefined) return undefined;
      length += more;
      if (more < 255) return length;
    }
  }

  while (at < block.length) {
    const token = block[at++]!;
    const literals = readLength(token >> 4);
    if (literals === undefined || at + literals > block.length) return undefined;
    if (out.length + literals > maxLength) return undefined;
    for (let i = 0; i < literals; i++) out.push(block[at++]!);
    if (at === block.length) return Uint8Array.from(out);

    if (at + 2 > block.length) return undefined;
    const offset = block[at]! + block[at + 1]! * 256;
    at += 2;
    if (offset === 0 || offset > out.length) return undefined;
    const rest = readLength(token & 15);
    if (rest === undefined || out.length + rest + matchMin > maxLength) return undefined;
    for (let i = 0; i < rest + matchMin; i++) out.push(out[out.length - offset]!);
  }
  return undefined;
}

function writeLength(out: number[], rest: number): void {
  let left = rest;
  for (; left >= 255; left -= 255) out.push(255);
  out.push(left);
}

function writeSequence(
  out: number[],
  literals: Uint8Array,
  match?: { offset: number; length: number },
): void {
  const matchBits = match ? Math.min(match.length - matchMin, 15) : 0;
  out.push((Math.min(literals.length, 15) << 4) | matchBits);
  if (literals.length >= 15) writeLength(out, literals.length - 15);
  out.push(...literals);
  if (!match) return;
  out.push(match.offset & 255, match.offset >> 8);
  if (matchBits === 15) writeLength(out, match.length - matchMin - 15);
}

/** Encodes a block greedily with the latest place where the same four bytes stood. */
export function referenceCompress(bytes: Uint8Array): Uint8Array {
  const out: number[] = [];
  const latest = new Map<string, number>();
  let literalsAt = 0;
  let at = 0;
  while (at <= bytes.length - matchStartMargin) {
    const key = bytes.subarray(at, at + matchMin).join();
    const from = latest.get(key);
    latest.set(key, at);
    if (from === undefined || at - from > offsetMax) {
      at += 1;
      continue;
    }
    let length = matchMin;
    const lengthMax = bytes.length - matchEndMargin - at;
    while (length < lengthMax && bytes[from + length] === bytes[at + length]) length += 1;
    writeSequence(out, bytes.subarray(literalsAt, at), { offset: at - from, length });
    at += length;
    literalsAt = at;
  }
  writeSequence(out, bytes.subarray(literalsAt));
  return Uint8Array.from(out);
}

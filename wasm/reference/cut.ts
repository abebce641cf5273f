/**
 * A slow and readable reference of the cutter, for tests; docs/storage-format.md 2.9. `gear`: a
 * 32-bit number for each value of a byte.
 */
export function referenceCut(bytes: Uint8Array, gear: readonly number[]): number[] {
  const ends: number[] = [];
  for (let start = 0; start < bytes.length; start = ends.at(-1)!) {
    const limit = Math.min(bytes.length, start + 65_534);
    let end = limit;
    for (let at = start + 32_768; at < limit; at++) {
      // Of the last 32 bytes: older ones have left the 32 bits.
      let hash = 0;
      for (let back = 31; back >= 0; back--) hash = (hash * 2 + gear[bytes[at - back]!]!) % 2 ** 32;
      if (hash < 2 ** 18) {
        end = at + 1;
        break;
      }
    }
    ends.push(end);
  }
  return ends;
}

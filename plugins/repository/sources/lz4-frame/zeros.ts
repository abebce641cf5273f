/** LZ4 block data for `length` zeros: one literal, one match over itself, five last literals. */
export function encodeZeros(length: number): { encoding: 'lz4' | 'raw'; bytes: Uint8Array } {
  if (length < 32) return { encoding: 'raw', bytes: new Uint8Array(length) };
  const match = length - 1 - 5 - 4 - 15;
  const full = Math.floor(match / 255);
  const bytes = new Uint8Array(1 + 1 + 2 + full + 1 + 1 + 5);
  bytes[0] = 0x1f;
  bytes[2] = 1;
  bytes.fill(255, 4, 4 + full);
  bytes[4 + full] = match % 255;
  bytes[5 + full] = 0x50;
  return { encoding: 'lz4', bytes };
}

/** A block of 64 KiB of zeros as exports write it. */
export const zeroBlock = encodeZeros(65536);

const magic = 0xfd2fb528;
const contentSizeBytes = [0, 2, 4, 8];
const dictionaryIdBytes = [0, 1, 2, 4];

/**
 * The length of the zstd frame that `bytes` begin with, or undefined if it is not whole. The
 * decoder would take a frame behind it, i.e. the next cluster, for a part of this one.
 */
export function zstdFrameBytes(bytes: Uint8Array): number | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 6 || view.getUint32(0, true) !== magic) return undefined;
  const descriptor = bytes[4]!;
  const single = (descriptor & 0x20) !== 0;
  const sizeBytes = contentSizeBytes[descriptor >>> 6]! || (single ? 1 : 0);
  let at = 5 + (single ? 0 : 1) + dictionaryIdBytes[descriptor & 3]! + sizeBytes;
  for (let last = false; !last; ) {
    if (at + 3 > bytes.length) return undefined;
    const header = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16);
    const repeated = ((header >>> 1) & 3) === 1;
    last = (header & 1) === 1;
    at += 3 + (repeated ? 1 : header >>> 3);
  }
  if (descriptor & 0x04) at += 4;
  return at <= bytes.length ? at : undefined;
}

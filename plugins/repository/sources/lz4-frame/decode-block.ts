/**
 * Decodes one block of LZ4 data into `target` and returns how many bytes it gave, or -1 if the data are not
 * valid or do not fit. It reads nothing outside `stored` and writes nothing outside `target`.
 */
export function decodeLz4Block(stored: Uint8Array, target: Uint8Array): number {
  let from = 0;
  let to = 0;
  while (from < stored.length) {
    const token = stored[from++]!;
    let literals = token >>> 4;
    if (literals === 15) {
      let more = 255;
      while (more === 255) {
        if (from >= stored.length) return -1;
        more = stored[from++]!;
        literals += more;
      }
    }
    if (literals > stored.length - from || literals > target.length - to) return -1;
    if (literals > 24) target.set(stored.subarray(from, from + literals), to);
    else for (let i = 0; i < literals; i += 1) target[to + i] = stored[from + i]!;
    from += literals;
    to += literals;
    if (from === stored.length) return to;
    if (from + 2 > stored.length) return -1;
    const distance = stored[from]! | (stored[from + 1]! << 8);
    from += 2;
    if (distance === 0 || distance > to) return -1;
    let length = (token & 15) + 4;
    if (length === 19) {
      let more = 255;
      while (more === 255) {
        if (from >= stored.length) return -1;
        more = stored[from++]!;
        length += more;
      }
    }
    if (length > target.length - to) return -1;
    copyMatch(target, to, distance, length);
    to += length;
  }
  return -1;
}

function copyMatch(target: Uint8Array, to: number, distance: number, length: number) {
  if (length <= 24) {
    for (let i = 0; i < length; i += 1) target[to + i] = target[to - distance + i]!;
    return;
  }
  // A match may overlap itself: what is copied doubles until the rest fits.
  let done = 0;
  while (done < length) {
    const step = Math.min(distance + done, length - done);
    target.copyWithin(to + done, to - distance, to - distance + step);
    done += step;
  }
}

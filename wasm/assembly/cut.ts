// Where a run of a byte stream is cut, decided by its content: docs/storage-format.md 2.9.

const lengthMin: u32 = 32768;
const lengthMax: u32 = 65534;
/** Bytes that the hash remembers: each shift pushes one bit of the oldest out. */
const window: u32 = 32;
/** One place of 2^14 is a cut, so chunks have about 48 KiB. */
const mask: u32 = 0xfffc0000;

/**
 * Writes where the chunks of `length` bytes end, counted from `input`, as 32-bit numbers to `ends`;
 * returns how many. `gear`: 256 32-bit numbers, one for each value of a byte.
 */
export function cutRun(input: usize, length: u32, gear: usize, ends: usize): u32 {
  let count: u32 = 0;
  for (let start: u32 = 0; start < length; ) {
    const limit = start + min(length - start, lengthMax);
    let at = start + lengthMin;
    let end = limit;
    if (at < limit) {
      let state: u32 = 0;
      for (let warm = at - window; warm < at; warm++) state = next(state, input + warm, gear);
      for (; at < limit; at++) {
        state = next(state, input + at, gear);
        if ((state & mask) == 0) {
          end = at + 1;
          break;
        }
      }
    }
    store<u32>(ends + (count << 2), end);
    count++;
    start = end;
  }
  return count;
}

// @ts-ignore: decorator
@inline
function next(state: u32, at: usize, gear: usize): u32 {
  return (state << 1) + load<u32>(gear + (usize(load<u8>(at)) << 2));
}

// The BLAKE3 compression function on four inputs at once: lane i of every vector belongs to input
// i.

/** Bytes of the work area: 16 message vectors, then 8 vectors of chaining values. */
export const compressScratchSize: u32 = 16 * 16 + 8 * 16;

const IV0: u32 = 0x6a09e667;
const IV1: u32 = 0xbb67ae85;
const IV2: u32 = 0x3c6ef372;
const IV3: u32 = 0xa54ff53a;
const IV4: u32 = 0x510e527f;
const IV5: u32 = 0x9b05688c;
const IV6: u32 = 0x1f83d9ab;
const IV7: u32 = 0x5be0cd19;

// Which message vector each step of a round takes, as a byte offset (16 times the word's number).
const schedule: usize = memory.data<u8>([
  0, 16, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240,
  32, 96, 48, 160, 112, 0, 64, 208, 16, 176, 192, 80, 144, 224, 240, 128,
  48, 64, 160, 192, 208, 32, 112, 224, 96, 80, 144, 0, 176, 240, 128, 16,
  160, 112, 192, 144, 224, 48, 208, 240, 64, 0, 176, 32, 80, 128, 16, 96,
  192, 208, 144, 176, 240, 160, 224, 128, 112, 32, 80, 48, 0, 16, 96, 64,
  144, 224, 176, 80, 128, 192, 240, 16, 208, 48, 0, 160, 32, 96, 64, 112,
  176, 240, 80, 0, 16, 144, 128, 96, 224, 160, 32, 192, 48, 64, 112, 208,
]);
const scheduleEnd: usize = schedule + 7 * 16;

// Turning a word right by 16 and by 8 bits as a shuffle of its bytes. In memory, because the
// compiler would put constants back into each use, where they are loaded again each time.
const masks: usize = memory.data<u8>([
  2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13,
  1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12,
]);

// @ts-ignore: decorator
@inline
function add(a: v128, b: v128): v128 {
  return i32x4.add(a, b);
}

// A byte shuffle is faster than two shifts and an or.
// @ts-ignore: decorator
@inline
function turn(a: v128, b: v128, mask: v128): v128 {
  return i8x16.relaxed_swizzle(v128.xor(a, b), mask);
}

// @ts-ignore: decorator
@inline
function turn12(a: v128, b: v128): v128 {
  const x = v128.xor(a, b);
  return v128.or(i32x4.shr_u(x, 12), i32x4.shl(x, 20));
}

// @ts-ignore: decorator
@inline
function turn7(a: v128, b: v128): v128 {
  const x = v128.xor(a, b);
  return v128.or(i32x4.shr_u(x, 7), i32x4.shl(x, 25));
}

// @ts-ignore: decorator
@inline
function word(message: usize, step: usize, k: usize): v128 {
  return v128.load(message + <usize>load<u8>(step + k));
}

/** Sets the four chaining values in the work area to the initial one. */
export function startChaining(scratch: usize): void {
  const h = scratch + 256;
  v128.store(h, i32x4.splat(IV0));
  v128.store(h, i32x4.splat(IV1), 16);
  v128.store(h, i32x4.splat(IV2), 32);
  v128.store(h, i32x4.splat(IV3), 48);
  v128.store(h, i32x4.splat(IV4), 64);
  v128.store(h, i32x4.splat(IV5), 80);
  v128.store(h, i32x4.splat(IV6), 96);
  v128.store(h, i32x4.splat(IV7), 112);
}

// Turns 16 bytes of each of four inputs into four vectors of one word each.
// @ts-ignore: decorator
@inline
function transpose(a: v128, b: v128, c: v128, d: v128, target: usize, gap: usize): void {
  const ab = i32x4.shuffle(a, b, 0, 4, 1, 5);
  const cd = i32x4.shuffle(c, d, 0, 4, 1, 5);
  const abHigh = i32x4.shuffle(a, b, 2, 6, 3, 7);
  const cdHigh = i32x4.shuffle(c, d, 2, 6, 3, 7);
  v128.store(target, i64x2.shuffle(ab, cd, 0, 2));
  v128.store(target + gap, i64x2.shuffle(ab, cd, 1, 3));
  v128.store(target + gap * 2, i64x2.shuffle(abHigh, cdHigh, 0, 2));
  v128.store(target + gap * 3, i64x2.shuffle(abHigh, cdHigh, 1, 3));
}

/** Loads one 64-byte block of each of four inputs that lie `stride` bytes apart. */
// @ts-ignore: decorator
@inline
export function loadMessages(scratch: usize, input: usize, stride: usize): void {
  for (let at: usize = 0; at < 64; at += 16) {
    const p = input + at;
    transpose(
      v128.load(p), v128.load(p + stride), v128.load(p + stride * 2), v128.load(p + stride * 3),
      scratch + at * 4, 16,
    );
  }
}

/** Writes the four chaining values as four times 32 bytes, one after the other. */
export function storeChaining(scratch: usize, target: usize): void {
  for (let half: usize = 0; half < 2; half++) {
    const h = scratch + 256 + half * 64;
    transpose(
      v128.load(h), v128.load(h, 16), v128.load(h, 32), v128.load(h, 48), target + half * 16, 32,
    );
  }
}

/**
 * Compresses the loaded messages into the chaining values. Lane i belongs to chunk `counter` + i *
 * `counterStep` (below 2^32: inputs up to 4 TiB).
 */
export function compress4(
  scratch: usize, counter: u32, counterStep: u32, length: u32, flags: u32,
): void {
  const h = scratch + 256;
  const by16 = v128.load(masks), by8 = v128.load(masks, 16);
  let a0 = v128.load(h), a1 = v128.load(h, 16), a2 = v128.load(h, 32), a3 = v128.load(h, 48);
  let b0 = v128.load(h, 64), b1 = v128.load(h, 80), b2 = v128.load(h, 96), b3 = v128.load(h, 112);
  let c0 = i32x4.splat(IV0), c1 = i32x4.splat(IV1), c2 = i32x4.splat(IV2), c3 = i32x4.splat(IV3);
  let d0 = add(i32x4.splat(counter), i32x4.mul(i32x4(0, 1, 2, 3), i32x4.splat(counterStep)));
  let d1 = i32x4.splat(0), d2 = i32x4.splat(length), d3 = i32x4.splat(flags);
  // unroll.mjs writes this loop out for the compiler.
  for (let s: usize = schedule; s < scheduleEnd; s += 16) {
    // Columns, two at a time: more would need more registers than there are.
    a0 = add(add(a0, word(scratch, s, 0)), b0); a1 = add(add(a1, word(scratch, s, 2)), b1);
    d0 = turn(d0, a0, by16); d1 = turn(d1, a1, by16); c0 = add(c0, d0); c1 = add(c1, d1);
    b0 = turn12(b0, c0); b1 = turn12(b1, c1);
    a0 = add(add(a0, word(scratch, s, 1)), b0); a1 = add(add(a1, word(scratch, s, 3)), b1);
    d0 = turn(d0, a0, by8); d1 = turn(d1, a1, by8); c0 = add(c0, d0); c1 = add(c1, d1);
    b0 = turn7(b0, c0); b1 = turn7(b1, c1);
    a2 = add(add(a2, word(scratch, s, 4)), b2); a3 = add(add(a3, word(scratch, s, 6)), b3);
    d2 = turn(d2, a2, by16); d3 = turn(d3, a3, by16); c2 = add(c2, d2); c3 = add(c3, d3);
    b2 = turn12(b2, c2); b3 = turn12(b3, c3);
    a2 = add(add(a2, word(scratch, s, 5)), b2); a3 = add(add(a3, word(scratch, s, 7)), b3);
    d2 = turn(d2, a2, by8); d3 = turn(d3, a3, by8); c2 = add(c2, d2); c3 = add(c3, d3);
    b2 = turn7(b2, c2); b3 = turn7(b3, c3);
    // Diagonals.
    a0 = add(add(a0, word(scratch, s, 8)), b1); a1 = add(add(a1, word(scratch, s, 10)), b2);
    d3 = turn(d3, a0, by16); d0 = turn(d0, a1, by16); c2 = add(c2, d3); c3 = add(c3, d0);
    b1 = turn12(b1, c2); b2 = turn12(b2, c3);
    a0 = add(add(a0, word(scratch, s, 9)), b1); a1 = add(add(a1, word(scratch, s, 11)), b2);
    d3 = turn(d3, a0, by8); d0 = turn(d0, a1, by8); c2 = add(c2, d3); c3 = add(c3, d0);
    b1 = turn7(b1, c2); b2 = turn7(b2, c3);
    a2 = add(add(a2, word(scratch, s, 12)), b3); a3 = add(add(a3, word(scratch, s, 14)), b0);
    d1 = turn(d1, a2, by16); d2 = turn(d2, a3, by16); c0 = add(c0, d1); c1 = add(c1, d2);
    b3 = turn12(b3, c0); b0 = turn12(b0, c1);
    a2 = add(add(a2, word(scratch, s, 13)), b3); a3 = add(add(a3, word(scratch, s, 15)), b0);
    d1 = turn(d1, a2, by8); d2 = turn(d2, a3, by8); c0 = add(c0, d1); c1 = add(c1, d2);
    b3 = turn7(b3, c0); b0 = turn7(b0, c1);
  }
  v128.store(h, v128.xor(a0, c0)); v128.store(h, v128.xor(a1, c1), 16);
  v128.store(h, v128.xor(a2, c2), 32); v128.store(h, v128.xor(a3, c3), 48);
  v128.store(h, v128.xor(b0, d0), 64); v128.store(h, v128.xor(b1, d1), 80);
  v128.store(h, v128.xor(b2, d2), 96); v128.store(h, v128.xor(b3, d3), 112);
}

// The BLAKE3 compression function on four inputs at once: lane i of every vector belongs to input
// i.

/** Bytes of the work area: 8 vectors of chaining values. */
export const compressScratchSize: u32 = 8 * 16;

const IV0: u32 = 0x6a09e667;
const IV1: u32 = 0xbb67ae85;
const IV2: u32 = 0x3c6ef372;
const IV3: u32 = 0xa54ff53a;
const IV4: u32 = 0x510e527f;
const IV5: u32 = 0x9b05688c;
const IV6: u32 = 0x1f83d9ab;
const IV7: u32 = 0x5be0cd19;

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

// The compiler moves nothing across this, which costs nothing: the engine knows the answer. Without
// it each value is computed just before its first use, which puts one column's steps after the
// other's, and the processor is left with one chain in which each step waits for the one before it.
// @ts-ignore: decorator
@inline
function inOrder(scratch: usize): void {
  if (!scratch) unreachable();
}

/** Sets the four chaining values in the work area to the initial one. */
export function startChaining(scratch: usize): void {
  const h = scratch;
  v128.store(h, i32x4.splat(IV0));
  v128.store(h, i32x4.splat(IV1), 16);
  v128.store(h, i32x4.splat(IV2), 32);
  v128.store(h, i32x4.splat(IV3), 48);
  v128.store(h, i32x4.splat(IV4), 64);
  v128.store(h, i32x4.splat(IV5), 80);
  v128.store(h, i32x4.splat(IV6), 96);
  v128.store(h, i32x4.splat(IV7), 112);
}

// Of two vectors of four words: the first two of each in turn, or the last two.
// @ts-ignore: decorator
@inline
function low(a: v128, b: v128): v128 {
  return i32x4.shuffle(a, b, 0, 4, 1, 5);
}

// @ts-ignore: decorator
@inline
function high(a: v128, b: v128): v128 {
  return i32x4.shuffle(a, b, 2, 6, 3, 7);
}

// @ts-ignore: decorator
@inline
function firsts(ab: v128, cd: v128): v128 {
  return i64x2.shuffle(ab, cd, 0, 2);
}

// @ts-ignore: decorator
@inline
function seconds(ab: v128, cd: v128): v128 {
  return i64x2.shuffle(ab, cd, 1, 3);
}

/** Writes the four chaining values as four times 32 bytes, one after the other. */
export function storeChaining(scratch: usize, target: usize): void {
  for (let half: usize = 0; half < 2; half++) {
    const h = scratch + half * 64;
    const a = v128.load(h), b = v128.load(h, 16), c = v128.load(h, 32), d = v128.load(h, 48);
    const ab = low(a, b), cd = low(c, d), abHigh = high(a, b), cdHigh = high(c, d);
    const at = target + half * 16;
    v128.store(at, firsts(ab, cd));
    v128.store(at, seconds(ab, cd), 32);
    v128.store(at, firsts(abHigh, cdHigh), 64);
    v128.store(at, seconds(abHigh, cdHigh), 96);
  }
}

/**
 * Compresses one 64-byte block of each of four inputs, `stride` bytes apart, into the chaining
 * values. Lane i belongs to chunk `counter` + i * `counterStep` (below 2^32: inputs up to 4 TiB).
 */
export function compress4(
  scratch: usize, input: usize, stride: usize,
  counter: u32, counterStep: u32, length: u32, flags: u32,
): void {
  const p0 = input, p1 = p0 + stride, p2 = p1 + stride, p3 = p2 + stride;
  let a: v128, b: v128, c: v128, d: v128, ab: v128, cd: v128, abHigh: v128, cdHigh: v128;
  a = v128.load(p0); b = v128.load(p1); c = v128.load(p2); d = v128.load(p3);
  ab = low(a, b); cd = low(c, d); abHigh = high(a, b); cdHigh = high(c, d);
  let m0 = firsts(ab, cd), m1 = seconds(ab, cd);
  let m2 = firsts(abHigh, cdHigh), m3 = seconds(abHigh, cdHigh);
  a = v128.load(p0, 16); b = v128.load(p1, 16); c = v128.load(p2, 16); d = v128.load(p3, 16);
  ab = low(a, b); cd = low(c, d); abHigh = high(a, b); cdHigh = high(c, d);
  let m4 = firsts(ab, cd), m5 = seconds(ab, cd);
  let m6 = firsts(abHigh, cdHigh), m7 = seconds(abHigh, cdHigh);
  a = v128.load(p0, 32); b = v128.load(p1, 32); c = v128.load(p2, 32); d = v128.load(p3, 32);
  ab = low(a, b); cd = low(c, d); abHigh = high(a, b); cdHigh = high(c, d);
  let m8 = firsts(ab, cd), m9 = seconds(ab, cd);
  let m10 = firsts(abHigh, cdHigh), m11 = seconds(abHigh, cdHigh);
  a = v128.load(p0, 48); b = v128.load(p1, 48); c = v128.load(p2, 48); d = v128.load(p3, 48);
  ab = low(a, b); cd = low(c, d); abHigh = high(a, b); cdHigh = high(c, d);
  let m12 = firsts(ab, cd), m13 = seconds(ab, cd);
  let m14 = firsts(abHigh, cdHigh), m15 = seconds(abHigh, cdHigh);
  const h = scratch;
  const by16 = v128.load(masks), by8 = v128.load(masks, 16);
  let a0 = v128.load(h), a1 = v128.load(h, 16), a2 = v128.load(h, 32), a3 = v128.load(h, 48);
  let b0 = v128.load(h, 64), b1 = v128.load(h, 80), b2 = v128.load(h, 96), b3 = v128.load(h, 112);
  let c0 = i32x4.splat(IV0), c1 = i32x4.splat(IV1), c2 = i32x4.splat(IV2), c3 = i32x4.splat(IV3);
  let d0 = add(i32x4.splat(counter), i32x4.mul(i32x4(0, 1, 2, 3), i32x4.splat(counterStep)));
  let d1 = i32x4.splat(0), d2 = i32x4.splat(length), d3 = i32x4.splat(flags);
  // unroll.mjs writes this loop out for the compiler.
  for (let round = 0; round < 7; round++) {
    // The four columns side by side, then the four diagonals.
    a0 = add(add(a0, m0), b0); a1 = add(add(a1, m2), b1);
    a2 = add(add(a2, m4), b2); a3 = add(add(a3, m6), b3);
    d0 = turn(d0, a0, by16); d1 = turn(d1, a1, by16);
    d2 = turn(d2, a2, by16); d3 = turn(d3, a3, by16);
    c0 = add(c0, d0); c1 = add(c1, d1);
    c2 = add(c2, d2); c3 = add(c3, d3);
    b0 = turn12(b0, c0); b1 = turn12(b1, c1);
    b2 = turn12(b2, c2); b3 = turn12(b3, c3);
    inOrder(scratch);
    a0 = add(add(a0, m1), b0); a1 = add(add(a1, m3), b1);
    a2 = add(add(a2, m5), b2); a3 = add(add(a3, m7), b3);
    d0 = turn(d0, a0, by8); d1 = turn(d1, a1, by8);
    d2 = turn(d2, a2, by8); d3 = turn(d3, a3, by8);
    c0 = add(c0, d0); c1 = add(c1, d1);
    c2 = add(c2, d2); c3 = add(c3, d3);
    b0 = turn7(b0, c0); b1 = turn7(b1, c1);
    b2 = turn7(b2, c2); b3 = turn7(b3, c3);
    inOrder(scratch);
    a0 = add(add(a0, m8), b1); a1 = add(add(a1, m10), b2);
    a2 = add(add(a2, m12), b3); a3 = add(add(a3, m14), b0);
    d3 = turn(d3, a0, by16); d0 = turn(d0, a1, by16);
    d1 = turn(d1, a2, by16); d2 = turn(d2, a3, by16);
    c2 = add(c2, d3); c3 = add(c3, d0);
    c0 = add(c0, d1); c1 = add(c1, d2);
    b1 = turn12(b1, c2); b2 = turn12(b2, c3);
    b3 = turn12(b3, c0); b0 = turn12(b0, c1);
    inOrder(scratch);
    a0 = add(add(a0, m9), b1); a1 = add(add(a1, m11), b2);
    a2 = add(add(a2, m13), b3); a3 = add(add(a3, m15), b0);
    d3 = turn(d3, a0, by8); d0 = turn(d0, a1, by8);
    d1 = turn(d1, a2, by8); d2 = turn(d2, a3, by8);
    c2 = add(c2, d3); c3 = add(c3, d0);
    c0 = add(c0, d1); c1 = add(c1, d2);
    b1 = turn7(b1, c2); b2 = turn7(b2, c3);
    b3 = turn7(b3, c0); b0 = turn7(b0, c1);
    inOrder(scratch);
    // The next round takes the words in another order: two cycles of eight.
    const first = m0, second = m1;
    m0 = m2; m2 = m3; m3 = m10; m10 = m12; m12 = m9; m9 = m11; m11 = m5; m5 = first;
    m1 = m6; m6 = m4; m4 = m7; m7 = m13; m13 = m14; m14 = m15; m15 = m8; m8 = second;
  }
  v128.store(h, v128.xor(a0, c0)); v128.store(h, v128.xor(a1, c1), 16);
  v128.store(h, v128.xor(a2, c2), 32); v128.store(h, v128.xor(a3, c3), 48);
  v128.store(h, v128.xor(b0, d0), 64); v128.store(h, v128.xor(b1, d1), 80);
  v128.store(h, v128.xor(b2, d2), 96); v128.store(h, v128.xor(b3, d3), 112);
}

// Tests over whole blocks. Lengths are multiples of 128 bytes: every block is 64 KiB.

/** True when all `length` bytes at `at` are zero. `length` is a multiple of 128. */
export function isZero(at: usize, length: u32): bool {
  const end = at + length;
  for (; at < end; at += 128) {
    const first = v128.or(
      v128.or(v128.load(at), v128.load(at, 16)),
      v128.or(v128.load(at, 32), v128.load(at, 48)),
    );
    const second = v128.or(
      v128.or(v128.load(at, 64), v128.load(at, 80)),
      v128.or(v128.load(at, 96), v128.load(at, 112)),
    );
    if (v128.any_true(v128.or(first, second))) return false;
  }
  return true;
}

/** True when `length` bytes at `a` and at `b` are the same. `length` is a multiple of 64. */
export function isEqual(a: usize, b: usize, length: u32): bool {
  const end = a + length;
  while (a < end) {
    const first = v128.or(
      v128.xor(v128.load(a), v128.load(b)),
      v128.xor(v128.load(a, 16), v128.load(b, 16)),
    );
    const second = v128.or(
      v128.xor(v128.load(a, 32), v128.load(b, 32)),
      v128.xor(v128.load(a, 48), v128.load(b, 48)),
    );
    if (v128.any_true(v128.or(first, second))) return false;
    a += 64;
    b += 64;
  }
  return true;
}

/** True when the two 32-byte ids are the same. */
@inline
export function isSameId(a: usize, b: usize): bool {
  const difference = v128.or(
    v128.xor(v128.load(a), v128.load(b)),
    v128.xor(v128.load(a, 16), v128.load(b, 16)),
  );
  return !v128.any_true(difference);
}

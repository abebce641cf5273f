import fc from 'fast-check';

/** A change of a few bytes with values that matter where lengths and offsets are read. */
export type Mutation = { at: number; value: number; width: 1 | 2 | 4 | 8 };

const edges = [0, 1, 2, 0x7f, 0x80, 0xff, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff];

/**
 * One to four changes, each in one of the ranges (bytes, the end excluded). Ranges that come twice
 * are hit twice as often.
 */
export function mutationsIn(...ranges: [start: number, end: number][]): fc.Arbitrary<Mutation[]> {
  const places = ranges.map(([min, end]) => fc.noBias(fc.integer({ min, max: end - 1 })));
  return fc.array(
    fc.record({
      at: fc.oneof(...places),
      value: fc.oneof(fc.constantFrom(...edges), fc.integer({ min: 0, max: 0xffffffff })),
      width: fc.constantFrom(1 as const, 2 as const, 4 as const, 8 as const),
    }),
    { minLength: 1, maxLength: 4 },
  );
}

export function mutate(bytes: Uint8Array, changes: Mutation[], bigEndian = true): Buffer {
  const copy = Buffer.from(bytes);
  for (const { at, value, width } of changes) {
    for (let i = 0; i < width && at + i < copy.length; i += 1) {
      const shift = bigEndian ? width - 1 - i : i;
      copy[at + i] = shift >= 4 ? 0 : (value >>> (shift * 8)) & 0xff;
    }
  }
  return copy;
}

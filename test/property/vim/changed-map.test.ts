import test from 'ava';
import fc from 'fast-check';
import { ExtentMerger } from '../../../plugins/vim/changed-map.ts';
import { seed } from '../../support/block-shapes.ts';

const block = 65_536;

/** Ordered extents with gaps between them, some of nothing, as a driver tells them. */
const extents = fc
  .array(fc.record({ gap: fc.nat(9 * block), length: fc.nat(3 * block) }), { maxLength: 40 })
  .map((parts) => {
    let at = 0n;
    return parts.map(({ gap, length }) => {
      const start = at + BigInt(gap);
      at = start + BigInt(length);
      return { start, length: BigInt(length) };
    });
  });

test('ExtentMerger: every changed byte is in the map, which is ordered and no longer than allowed', (t) => {
  const property = fc.property(extents, fc.integer({ min: 1, max: 45 }), (given, max) => {
    const merger = new ExtentMerger(max);
    for (const extent of given) merger.add(extent);
    const merged = merger.result();
    t.true(merged.length <= max);
    for (const [index, { start }] of merged.entries()) {
      const before = merged[index - 1];
      if (before) t.true(start > before.start + before.length, 'ordered, with gaps between them');
    }
    for (const { start, length } of given) {
      const isIn = merged.some(
        (each) => each.start <= start && start + length <= each.start + each.length,
      );
      t.true(isIn, `${length} bytes at ${start}`);
    }
    // Short enough as it is, a map claims nothing that did not change.
    const bytes = (list: { length: bigint }[]) =>
      list.reduce((sum, { length }) => sum + length, 0n);
    if (given.length <= max) t.is(bytes(merged), bytes(given));
  });
  fc.assert(property, { seed, numRuns: 500 });
  t.log(`seed ${seed}`);
});

import test from 'ava';
import fc from 'fast-check';
import type { SourceExtent } from '../../../../plugins/repository/sources/source.ts';
import {
  blocksOfSizeChange,
  countBlocks,
  joinRanges,
  mappedBlocks,
  pickSamples,
} from '../../../../plugins/repository/store/change-map.ts';
import { parseFramed } from '../../../../plugins/repository/store/framed-text.ts';
import { decodeIndex } from '../../../../plugins/repository/store/index-codec.ts';
import { manifestProblem } from '../../../../plugins/repository/store/manifest-rules.ts';
import { planSteps, type Step } from '../../../../plugins/repository/store/read-plan.ts';
import { decodePage } from '../../../../plugins/repository/store/tree-page.ts';
import { isRpcError } from '../../../../sdk/errors.ts';

const blockSize = 65536;
const range = fc.record({ start: fc.nat(40 * blockSize), length: fc.nat(9 * blockSize) });

test('change map: blocks are in it exactly when a byte of them is', (t) => {
  t.notThrows(() =>
    fc.assert(
      fc.property(fc.array(range, { maxLength: 8 }), (list) => {
        const blocks = mappedBlocks(list, 64 * blockSize, 'd');
        for (let block = 0; block < 64; block++) {
          const start = block * blockSize;
          const isTouched = list.some(
            (item) =>
              item.length > 0 && item.start < start + blockSize && item.start + item.length > start,
          );
          if (blocks.some(({ first, end }) => first <= block && block < end) !== isTouched)
            return false;
        }
        return blocks.every(({ first }, index) => index === 0 || first > blocks[index - 1]!.end);
      }),
    ),
  );
});

test('samples: different clean blocks, as many as asked for or as there are', (t) => {
  const ranges = fc.array(fc.tuple(fc.nat(100), fc.nat(30)), { maxLength: 6 });
  t.notThrows(() =>
    fc.assert(
      fc.property(ranges, fc.nat(80), fc.nat(2 ** 30), (list, samples, seed) => {
        const mapped = joinRanges(
          list.map(([first, length]) => ({ first, end: Math.min(120, first + length) })),
        ).filter(({ first, end }) => first < end);
        let state = seed;
        const fraction = () => {
          state = (state * 1103515245 + 12345) % 2 ** 31;
          return state / 2 ** 31;
        };
        const picked = pickSamples(mapped, 120, samples, fraction);
        const isClean = (block: number) =>
          !mapped.some(({ first, end }) => first <= block && block < end);
        return (
          picked.length === Math.min(samples, 120 - countBlocks(mapped)) &&
          new Set(picked).size === picked.length &&
          picked.every((block) => block >= 0 && block < 120 && isClean(block))
        );
      }),
    ),
  );
});

test('samples: every clean block can be picked', (t) => {
  const seen = new Set<number>();
  for (let run = 0; run < 2000; run++) {
    for (const block of pickSamples([{ first: 3, end: 7 }], 20, 4, Math.random)) seen.add(block);
  }
  t.deepEqual(
    [...seen].sort((a, b) => a - b),
    [0, 1, 2, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19],
  );
});

test('read plan: every block has one step, and the right one', async (t) => {
  const lengths = fc.array(fc.tuple(fc.nat(3 * blockSize), fc.boolean()), { maxLength: 10 });
  const maps = fc.option(fc.array(range, { maxLength: 4 }));
  await t.notThrowsAsync(() =>
    fc.assert(
      fc.asyncProperty(lengths, maps, async (parts, map) => {
        const size = parts.reduce((sum, [length]) => sum + length, 0);
        const inside = map?.map(({ start, length }) => {
          const from = Math.min(start, size);
          return { start: from, length: Math.min(length, size - from) };
        });
        const mapped = inside && mappedBlocks(inside, size, 'd');
        const steps: Step[] = [];
        for await (const step of planSteps(extentsOf(parts), size, mapped)) steps.push(step);
        let next = 0;
        for (const { kind, first, count } of steps) {
          if (first !== next || count < 1) return false;
          next += count;
          for (let block = first; block < next; block++) {
            if (kind !== expectedKind(block, parts, mapped)) return false;
          }
        }
        return next === Math.ceil(size / blockSize);
      }),
    ),
  );
});

async function* extentsOf(parts: [number, boolean][]): AsyncGenerator<SourceExtent> {
  let offset = 0;
  for (const [length, isData] of parts) {
    yield { offset, length, kind: isData ? 'data' : 'zero' };
    offset += length;
  }
}

function expectedKind(
  block: number,
  parts: [number, boolean][],
  mapped?: { first: number; end: number }[] | null,
): Step['kind'] {
  if (mapped && !mapped.some(({ first, end }) => first <= block && block < end)) return 'keep';
  let offset = 0;
  for (const [length, isData] of parts) {
    const overlaps = offset < (block + 1) * blockSize && offset + length > block * blockSize;
    if (isData && length > 0 && overlaps) return 'read';
    offset += length;
  }
  return 'hole';
}

test('size change: what is beyond the old end is read', (t) => {
  t.deepEqual(blocksOfSizeChange(100, 100), []);
  t.deepEqual(blocksOfSizeChange(100, 200), [{ first: 0, end: 1 }]);
  t.deepEqual(blocksOfSizeChange(2 * blockSize, blockSize), []);
  t.deepEqual(blocksOfSizeChange(2 * blockSize, blockSize + 1), [{ first: 1, end: 2 }]);
  t.deepEqual(blocksOfSizeChange(blockSize, 3 * blockSize), [{ first: 1, end: 3 }]);
});

test('decoders: arbitrary bytes are refused as damaged or too new, never otherwise', (t) => {
  const start = (text: string) =>
    fc
      .uint8Array({ maxLength: 300 })
      .map((rest) => new Uint8Array(Buffer.concat([Buffer.from(text, 'latin1'), rest])));
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    start('NFVIDX\x01\x00'),
    start('NFVP\x01'),
    start('micromano-package 1 '),
  );
  const decoders: ((bytes: Uint8Array) => unknown)[] = [
    (input) => decodeIndex(input, 'x'),
    (input) => decodePage(input, { level: 0, count: 3 }, 'x', 0),
    (input) => parseFramed('package', input, 'x'),
  ];
  t.notThrows(() =>
    fc.assert(
      fc.property(bytes, fc.constantFrom(...decoders), (input, decode) => {
        try {
          decode(input);
        } catch (error) {
          return isRpcError(error, 'OBJECT_DAMAGED') || isRpcError(error, 'FORMAT_TOO_NEW');
        }
        return true;
      }),
      { numRuns: 2000 },
    ),
  );
});

test('manifest rules: arbitrary JSON is judged without an exception', (t) => {
  t.notThrows(() =>
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const problem = manifestProblem(value);
        return typeof problem === 'string';
      }),
    ),
  );
});

import test from 'ava';
import { extentsWithin } from '../../../../plugins/repository/sources/extents-within.ts';
import type { ByteRange, SourceExtent } from '../../../../plugins/repository/sources/source.ts';

async function* zeros(start: number, end: number): AsyncGenerator<SourceExtent> {
  yield { offset: start, length: end - start, kind: 'zero' };
}

async function shown(within?: ByteRange[]): Promise<string[]> {
  const extents: string[] = [];
  for await (const { offset, length, kind } of extentsWithin(100, within, zeros)) {
    extents.push(`${offset}+${length} ${kind}`);
  }
  return extents;
}

test('extents: without parts the whole image is looked at', async (t) => {
  t.deepEqual(await shown(), ['0+100 zero']);
});

test('extents: between the parts everything is data, without a look', async (t) => {
  const within = [
    { start: 10, length: 5 },
    { start: 15, length: 0 },
    { start: 40, length: 60 },
  ];
  t.deepEqual(await shown(within), ['0+10 data', '10+5 zero', '15+25 data', '40+60 zero']);
  t.deepEqual(await shown([]), ['0+100 data']);
});

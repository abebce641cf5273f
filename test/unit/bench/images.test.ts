import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { changedRanges } from '../../../bench/changed-map.ts';
import { scatter, writeNoise, writeSparse } from '../../../bench/corpus/synthetic.ts';
import { refuseLackOfSpace, requireRaw } from '../../../bench/images.ts';
import { Code } from '../../../sdk/errors.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { throwsRpc } from '../../support/throws-rpc.ts';

const block = 65536;

test('changedRanges: blocks that differ, joined, the last one as short as the image', async (t) => {
  const folder = await tempFolder(t);
  const [before, after] = [join(folder, 'a'), join(folder, 'b')];
  const bytes = Buffer.alloc(70 * block + 100, 1);
  await writeFile(before, bytes);
  for (const at of [block - 1, block, 2 * block, 64 * block - 1, 64 * block, 70 * block + 99]) {
    bytes[at] = 2;
  }
  await writeFile(after, bytes);
  t.deepEqual(await changedRanges(before, after), [
    { start: 0, length: 3 * block },
    { start: 63 * block, length: 2 * block },
    { start: 70 * block, length: 100 },
  ]);
  t.deepEqual(await changedRanges(after, after), []);
});

test('changedRanges: what a longer image has more is changed, from the block where the shorter ends', async (t) => {
  const folder = await tempFolder(t);
  const [before, after] = [join(folder, 'a'), join(folder, 'b')];
  await writeFile(before, Buffer.alloc(block + 10));
  await writeFile(after, Buffer.alloc(3 * block));
  t.deepEqual(await changedRanges(before, after), [{ start: block, length: 2 * block }]);
  t.deepEqual(await changedRanges(after, before), []);
});

test('scatter: pieces lie on blocks, apart, within the disk', (t) => {
  const pieces = scatter(100 * block, 20 * block, 2 * block);
  t.is(pieces.length, 10);
  t.is(
    pieces.reduce((sum, { length }) => sum + length, 0),
    20 * block,
  );
  for (const [index, { start, length }] of pieces.entries()) {
    t.is(start % block, 0);
    t.true(start + length <= (pieces[index + 1]?.start ?? 100 * block));
  }
});

test('writeSparse, writeNoise: the same bytes for the same seed, the rest of the disk a hole', async (t) => {
  const folder = await tempFolder(t);
  const [content, a, b] = ['content', 'a', 'b'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  await writeFile(content, Buffer.alloc(block, 7));
  for (const path of [a, b]) {
    await writeSparse(path, 64 * block, content, [{ start: 8 * block, length: block }]);
    await writeNoise(path, [{ start: 16 * block, length: block }], 'seed');
  }
  const bytes = await readFile(a);
  t.true(bytes.equals(await readFile(b)));
  t.is(bytes.length, 64 * block);
  t.true(bytes.subarray(8 * block, 9 * block).every((byte) => byte === 7));
  t.true(new Set(bytes.subarray(16 * block, 17 * block)).size > 200);
  t.true((await stat(a)).blocks * 512 <= 8 * block);
});

test('requireRaw: a qcow2 image is refused with what to do, a missing one by name', async (t) => {
  const folder = await tempFolder(t);
  const path = join(folder, 'disk');
  await writeFile(path, Buffer.from('QFI\xfb and more', 'latin1'));
  const expected = { code: Code.INVALID_ARGUMENT, reason: 'SOURCE_FORMAT' };
  const error = await throwsRpc(t, requireRaw(path), expected);
  t.true(error.message.includes('qemu-img convert'));
  const missing = { code: Code.INVALID_ARGUMENT, reason: 'SOURCE_UNREADABLE' };
  await throwsRpc(t, requireRaw(join(folder, 'none')), missing);
});

test('refuseLackOfSpace: a run that may not fit is refused with both figures', async (t) => {
  t.notThrows(() => refuseLackOfSpace(1000, 1000, '/work'));
  const expected = { code: Code.RESOURCE_EXHAUSTED, reason: 'BENCH_NO_SPACE' };
  const refuse = () => refuseLackOfSpace(3 * 1024 * 1024, 1024 * 1024, '/work');
  const { message } = await throwsRpc(t, refuse, expected);
  t.true(message.includes('/work has 1 MiB free') && message.includes('3 MiB'), message);
});

import { execFileSync } from 'node:child_process';
import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { openRaw } from '../../../../plugins/repository/sources/raw.ts';
import type { SourceExtent } from '../../../../plugins/repository/sources/source.ts';
import { Code } from '../../../../sdk/errors.ts';
import { skipUnless } from '../../../support/require-tool.ts';
import { tempFolder } from '../../../support/temp-folder.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';
import {
  below,
  equal,
  randomBytes,
  randomNumbers,
  readByExtents,
  readByFiles,
  writeSparse,
} from './images.ts';

const mebibyte = 2 ** 20;

test('raw: data that were written and never synced are never taken for a hole', async (t) => {
  const folder = await tempFolder(t);
  const random = randomNumbers(7);
  for (let round = 0; round < 12; round += 1) {
    const pieces = Array.from({ length: 1 + below(random, 12) }, () => ({
      offset: below(random, 20 * mebibyte),
      bytes: randomBytes(random, 1 + below(random, 9000)),
    }));
    const path = join(folder, `${round}.raw`);
    const whole = await writeSparse(path, 16 * mebibyte + below(random, 70000), pieces);
    const source = await openRaw(path);
    t.teardown(() => source.close());
    t.true(equal(await readByExtents(source), whole), `round ${round}`);
    t.true(equal(await readByFiles(source, 3 * 65536), whole), `round ${round}`);
  }
});

test('raw: fresh data in space that was reserved before are not taken for a hole', async (t) => {
  if (!skipUnless(t, 'fallocate')) return;
  const path = join(await tempFolder(t), 'reserved.raw');
  execFileSync('fallocate', ['-l', '64M', path]);
  execFileSync('dd', [
    'if=/dev/urandom',
    `of=${path}`,
    'bs=4096',
    'seek=5000',
    'count=3',
    'conv=notrunc',
    'status=none',
  ]);
  const source = await openRaw(path);
  t.teardown(() => source.close());
  const part = new Uint8Array(3 * 4096);
  await source.read(5000 * 4096, part);
  const whole = await readByExtents(source);
  t.true(equal(whole.subarray(5000 * 4096, 5003 * 4096), part));
  t.true(part.some((byte) => byte !== 0));
});

test('raw: holes of a sparse file are found without reading them', async (t) => {
  if (!skipUnless(t, 'perl')) return;
  const path = join(await tempFolder(t), 'sparse.raw');
  await writeSparse(path, mebibyte, []);
  await truncate(path, 2 ** 40);
  const source = await openRaw(path);
  t.teardown(() => source.close());
  const extents: SourceExtent[] = [];
  for await (const extent of source.extents()) extents.push(extent);
  t.deepEqual(extents, [{ offset: 0, length: 2 ** 40, kind: 'zero' }]);
  t.is(source.holeOrigin, 'seek');
});

test('raw: asked about a few parts, a sparse file is not searched for holes', async (t) => {
  const path = join(await tempFolder(t), 'sparse.raw');
  await writeSparse(path, mebibyte, []);
  await truncate(path, 2 ** 40);
  const source = await openRaw(path, { perl: '/nonexistent/perl' });
  t.teardown(() => source.close());
  const within = [{ start: 2 ** 39, length: 200 * mebibyte }];
  const extents: SourceExtent[] = [];
  for await (const extent of source.extents(within)) extents.push(extent);
  t.deepEqual(extents, [{ offset: 0, length: 2 ** 40, kind: 'data' }]);
  t.is(source.holeOrigin, 'whole:few parts asked for');
});

test('raw: without a tool that knows holes the whole file is data, and the source says so', async (t) => {
  const path = join(await tempFolder(t), 'sparse.raw');
  const pieces = [{ offset: 3 * mebibyte, bytes: randomBytes(randomNumbers(1), 100) }];
  const whole = await writeSparse(path, 8 * mebibyte, pieces);
  for (const perl of ['/nonexistent/perl', '/bin/false', '/bin/echo']) {
    const source = await openRaw(path, { perl });
    t.teardown(() => source.close());
    t.true(equal(await readByExtents(source), whole));
    t.regex(source.holeOrigin ?? '', /^whole:/);
  }
});

test('raw: a file that is shorter than its map is DATA_LOSS with path and offset', async (t) => {
  const path = join(await tempFolder(t), 'short.raw');
  await writeFile(path, new Uint8Array(100_000).fill(1));
  const expected = { code: Code.DATA_LOSS, reason: 'SOURCE_TRUNCATED' };
  const early = await throwsRpc(t, () => openRaw(path, { sizeBytes: 200_000 }), expected);
  t.deepEqual(early.metadata, { path, offset: '100000' });
  const source = await openRaw(path);
  t.teardown(() => source.close());
  await truncate(path, 70_000);
  const late = await throwsRpc(t, () => source.read(65_536, new Uint8Array(10_000)), expected);
  t.deepEqual(late.metadata, { path, offset: '70000' });
});

test('raw: a missing file, a folder and a pipe are refused without waiting', async (t) => {
  const folder = await tempFolder(t);
  const missing = () => openRaw(join(folder, 'missing'));
  await throwsRpc(t, missing, { code: Code.NOT_FOUND, reason: 'SOURCE_NOT_FOUND' });
  execFileSync('mkfifo', [join(folder, 'pipe')]);
  const notFile = { code: Code.FAILED_PRECONDITION, reason: 'SOURCE_NOT_A_FILE' };
  await throwsRpc(t, () => openRaw(folder), notFile);
  await throwsRpc(t, () => openRaw(join(folder, 'pipe')), notFile);
});

test('raw: reading beyond the end gives zeros', async (t) => {
  const path = join(await tempFolder(t), 'tail.raw');
  await writeFile(path, new Uint8Array(70_000).fill(5));
  const source = await openRaw(path);
  t.teardown(() => source.close());
  const block = new Uint8Array(65_536).fill(9);
  await source.read(65_536, block);
  t.is(block.lastIndexOf(5), 70_000 - 65_536 - 1);
  t.true(block.subarray(70_000 - 65_536).every((byte) => byte === 0));
});

import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { openLz4Frame } from '../../../../plugins/repository/sources/lz4-frame/source.ts';
import {
  createLz4Frame,
  type StoredBlock,
  writeLz4Frame,
} from '../../../../plugins/repository/targets/lz4-frame.ts';
import { Code } from '../../../../sdk/errors.ts';
import { skipUnless } from '../../../support/require-tool.ts';
import { tempFolder } from '../../../support/temp-folder.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';
import { below, equal, randomBytes, randomNumbers, readByExtents, run } from '../sources/images.ts';
import { packBlock, plainImage, storedBlocks } from './stored-blocks.ts';

const sizes = [0, 1, 31, 65535, 65536, 65537, 64 * 65536, 64 * 65536 + 5, 200 * 65536 + 777];

for (const [seed, sizeBytes] of sizes.entries()) {
  test(`lz4 frame: ${sizeBytes} bytes survive the lz4 command and our own reader`, async (t) => {
    if (!skipUnless(t, 'lz4')) return;
    const folder = await tempFolder(t);
    const path = join(folder, 'image.raw.lz4');
    const plain = plainImage(seed, sizeBytes);
    await writeLz4Frame(path, { sizeBytes, blocks: () => storedBlocks(plain) });
    t.deepEqual(await readdir(folder), ['image.raw.lz4']);
    await run('lz4', '-q', '-d', path, join(folder, 'out'));
    t.true(equal(await readFile(join(folder, 'out')), plain));
    const source = await openLz4Frame(path);
    t.teardown(() => source.close());
    t.is(source.sizeBytes, sizeBytes);
    t.true(equal(await readByExtents(source, 5 * 65536), plain));
  });
}

test('lz4 frame: stored blocks are copied byte for byte', async (t) => {
  const path = join(await tempFolder(t), 'image.raw.lz4');
  const random = randomNumbers(3);
  const packed = await packBlock(randomBytes(random, 65536, 4));
  const noise = randomBytes(random, 65536);
  async function* blocks(): AsyncGenerator<StoredBlock> {
    yield { index: 0, encoding: 'lz4', bytes: packed! };
    yield { index: 1, encoding: 'raw', bytes: noise };
  }
  await writeLz4Frame(path, { sizeBytes: 2 * 65536, blocks: () => blocks() });
  const file = await readFile(path);
  t.true(equal(file.subarray(15 + 4, 15 + 4 + packed!.length), packed!));
  t.true(equal(file.subarray(15 + 4 + packed!.length + 4).subarray(0, 65536), noise));
  t.is(file.readUInt32LE(15 + 4 + packed!.length), 65536 + 2 ** 31);
});

test('lz4 frame: the target of plain blocks leaves gaps zero and refuses to go back', async (t) => {
  const path = join(await tempFolder(t), 'image.raw.lz4');
  const plain = new Uint8Array(100 * 65536 + 9);
  const random = randomNumbers(9);
  const target = await createLz4Frame(path, plain.length, packBlock);
  for (const block of [3, 4, 90, 100]) {
    const part = plain.subarray(block * 65536, (block + 1) * 65536);
    part.set(randomBytes(random, part.length, block === 4 ? 256 : 3));
    await target.write(block * 65536, part);
  }
  await t.throwsAsync(() => target.write(0, new Uint8Array(65536)));
  await target.finish();
  await target.abort();
  const source = await openLz4Frame(path);
  t.teardown(() => source.close());
  t.true(equal(await readByExtents(source), plain));
  const kinds: string[] = [];
  for await (const { kind } of source.extents()) kinds.push(kind);
  t.deepEqual(kinds, ['zero', 'data', 'zero', 'data', 'zero', 'data']);
});

const commands = [
  '-1 -BI',
  '-9 -BI -B4',
  '-1 -BI -B5 --content-size',
  '-1 -BI -B6 -BX',
  '-12 -BI -B7 --no-frame-crc',
];
for (const [seed, options] of commands.entries()) {
  test(`lz4 frame: what lz4 ${options} wrote is read`, async (t) => {
    if (!skipUnless(t, 'lz4')) return;
    const folder = await tempFolder(t);
    const plain = plainImage(seed + 50, 9 * 2 ** 20 + 12345);
    await writeFile(join(folder, 'in'), plain);
    await run('lz4', '-q', ...options.split(' '), join(folder, 'in'), join(folder, 'in.lz4'));
    const source = await openLz4Frame(join(folder, 'in.lz4'));
    t.teardown(() => source.close());
    t.true(equal(await readByExtents(source, 300_000), plain));
    const part = new Uint8Array(100_000);
    await source.read(4_150_000, part);
    t.true(equal(part, plain.subarray(4_150_000, 4_250_000)));
  });
}

test('lz4 frame: linked blocks are refused with advice', async (t) => {
  if (!skipUnless(t, 'lz4')) return;
  const folder = await tempFolder(t);
  await writeFile(join(folder, 'in'), plainImage(1, 300_000));
  await run('lz4', '-q', '-BD', '-B4', join(folder, 'in'), join(folder, 'in.lz4'));
  const refused = { code: Code.UNIMPLEMENTED, reason: 'SOURCE_UNSUPPORTED' };
  const error = await throwsRpc(t, () => openLz4Frame(join(folder, 'in.lz4')), refused);
  t.is(error.metadata.feature, 'linked blocks');
});

test('lz4 frame: a frame cut short or with bytes behind it is DATA_LOSS', async (t) => {
  const folder = await tempFolder(t);
  const path = join(folder, 'image.raw.lz4');
  const plain = plainImage(4, 3 * 65536 + 100);
  await writeLz4Frame(path, { sizeBytes: plain.length, blocks: () => storedBlocks(plain) });
  const whole = await readFile(path);
  const corrupt = { code: Code.DATA_LOSS, reason: 'SOURCE_CORRUPT' };
  const cuts = [whole.length - 1, whole.length - 4, whole.length - 300, 20, 16, 10, 5];
  for (const cut of cuts) {
    await writeFile(path, whole.subarray(0, cut));
    await throwsRpc(t, () => openLz4Frame(path), corrupt);
  }
  await writeFile(path, Buffer.concat([whole, new Uint8Array(1)]));
  await throwsRpc(t, () => openLz4Frame(path), corrupt);
});

test('lz4 frame: a file that changes after it was opened is DATA_LOSS', async (t) => {
  const path = join(await tempFolder(t), 'image.raw.lz4');
  const plain = plainImage(5, 4 * 65536);
  await writeLz4Frame(path, { sizeBytes: plain.length, blocks: () => storedBlocks(plain) });
  const source = await openLz4Frame(path);
  t.teardown(() => source.close());
  const file = await readFile(path);
  const at = below(randomNumbers(8), file.length - 100) + 30;
  file[at] = file[at]! ^ 1;
  await writeFile(path, file);
  const changed = { code: Code.DATA_LOSS, reason: 'SOURCE_CHANGED' };
  await throwsRpc(t, () => source.read(0, new Uint8Array(plain.length)), changed);
});

test('lz4 frame: an image larger than the caller allows is refused before it is unpacked', async (t) => {
  const path = join(await tempFolder(t), 'bomb.raw.lz4');
  async function* nothing(): AsyncGenerator<StoredBlock> {}
  await writeLz4Frame(path, { sizeBytes: 1000 * 65536, blocks: () => nothing() });
  const tooLarge = { code: Code.RESOURCE_EXHAUSTED, reason: 'SOURCE_TOO_LARGE' };
  const error = await throwsRpc(
    t,
    () => openLz4Frame(path, { sizeMaxBytes: 999 * 65536 }),
    tooLarge,
  );
  t.is(error.metadata.limitBytes, String(999 * 65536));
});

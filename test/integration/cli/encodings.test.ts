import { copyFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import {
  blockSize,
  noise,
  overwrite,
  sameFiles,
  text,
  tool,
} from '../../support/cli/disk-images.ts';
import { mano, manoOk } from '../../support/cli/mano.ts';
import { skipUnless } from '../../support/require-tool.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const store = ['--store', 'store'];

/** A folder with v1.raw and v2.raw, which differ in a few bytes of some blocks. */
async function versions(t: ExecutionContext): Promise<string> {
  const folder = await tempFolder(t);
  const v1 = Buffer.concat([noise('v1', 40 * blockSize), text('v1', 20 * blockSize + 77)]);
  await writeFile(join(folder, 'v1.raw'), v1);
  await copyFile(join(folder, 'v1.raw'), join(folder, 'v2.raw'));
  for (const block of [0, 7, 39, 41, 60]) {
    await overwrite(join(folder, 'v2.raw'), block * blockSize + 9, Buffer.from(`new ${block}`));
  }
  return folder;
}

/** Packs both versions, each by these options, and returns what is said about the second. */
async function packBoth(t: ExecutionContext, folder: string, ...options: string[]) {
  await manoOk(t, folder, ['pack', 'v1.raw', ...store, '--id', 'v1', ...options]);
  const words = ['pack', 'v2.raw', ...store, '--id', 'v2', '--parent', 'v1', '--json', ...options];
  return (await manoOk(t, folder, words)).json().images[0];
}

async function comesBack(t: ExecutionContext, folder: string): Promise<void> {
  await manoOk(t, folder, ['verify', ...store]);
  await manoOk(t, folder, ['unpack', 'v2', ...store, '--to', 'out']);
  await sameFiles(t, join(folder, 'v2.raw'), join(folder, 'out/v2.raw'));
}

test('pack --parent: changed blocks are stored as differences unless --no-delta says otherwise', async (t) => {
  const folder = await versions(t);
  const image = await packBoth(t, folder);
  t.like(image, { newBlocks: 5, deltaBlocks: 5, damagedBases: 0 });
  await comesBack(t, folder);
  const other = await versions(t);
  const full = await packBoth(t, other, '--no-delta');
  t.like(full, { newBlocks: 5, deltaBlocks: 0 });
  t.true(image.storedBytes < full.storedBytes / 10, `${image.storedBytes}, ${full.storedBytes}`);
  await comesBack(t, other);
});

test('delete, gc: a package whose parent is gone comes back, its bases stayed', async (t) => {
  const folder = await versions(t);
  await packBoth(t, folder);
  await manoOk(t, folder, ['delete', 'v1', ...store]);
  await manoOk(t, folder, ['gc', ...store]);
  await comesBack(t, folder);
});

for (const compression of ['zstd', 'zstd:1', 'zstd:19', 'lz4', 'none']) {
  test(`pack --compression ${compression}: comes back, and is exported so that other programs read it`, async (t) => {
    if (!skipUnless(t, 'lz4', 'unzip')) return;
    const folder = await versions(t);
    const image = await packBoth(t, folder, '--compression', compression);
    t.is(image.deltaBlocks, compression === 'none' ? 0 : 5);
    await comesBack(t, folder);
    await manoOk(t, folder, ['export', 'v2', 'v2.zip', ...store, '--prove']);
    await tool('unzip', '-q', join(folder, 'v2.zip'), '-d', join(folder, 'zip'));
    const names = await readdir(join(folder, 'zip/images'));
    const frame = names.find((name) => name.endsWith('.lz4'))!;
    await tool('lz4', '-dq', join(folder, 'zip/images', frame), join(folder, 'plain'));
    await sameFiles(t, join(folder, 'v2.raw'), join(folder, 'plain'));
    await manoOk(t, folder, ['import', 'v2.zip', '--store', 'other']);
    await manoOk(t, folder, ['verify', '--store', 'other']);
  });
}

for (const bad of ['zstd:0', 'zstd:20', 'lz4:1', 'gzip', '']) {
  test(`pack --compression "${bad}": is exit code 2 and says what there is`, async (t) => {
    const result = await mano(await tempFolder(t), ['pack', 'x', ...store, `--compression=${bad}`]);
    t.is(result.code, 2);
    t.regex(result.stderr, /lz4, none, zstd or zstd:LEVEL with a level from 1 to 19/);
  });
}

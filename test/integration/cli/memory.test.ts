import { existsSync } from 'node:fs';
import { cp, mkdir, open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { noise, sameFiles, tool, writeImage } from '../../support/cli/disk-images.ts';
import { type ManoResult, manoOk } from '../../support/cli/mano.ts';
import { skipUnless } from '../../support/require-tool.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const gib = 2 ** 30;
/** What the README promises. */
const peakMibMax = 300;
/** What a user of a small machine should see; beyond, something holds more than it did. */
const usualMibMax = 240;

function assertSmall(t: ExecutionContext, what: string, { peakMib }: ManoResult, maxMib: number) {
  t.log(`${what}: ${Math.round(peakMib)} MiB`);
  t.true(peakMib > 30, `a peak of ${peakMib} MiB cannot have been measured`);
  t.true(peakMib < maxMib, `${what}: ${peakMib} MiB`);
}

/** Files of this machine, up to that many bytes: what a Linux file system really holds. */
async function copySystemFiles(target: string, bytesMax: number): Promise<number> {
  let bytes = 0;
  for (const folder of ['/usr/bin', '/usr/lib/x86_64-linux-gnu', '/usr/sbin']) {
    if (!existsSync(folder)) continue;
    for (const name of (await readdir(folder)).sort()) {
      const path = join(folder, name);
      const found = await stat(path).catch(() => undefined);
      if (!found?.isFile() || bytes + found.size > bytesMax) continue;
      await cp(path, join(target, name), { dereference: true });
      bytes += found.size;
    }
  }
  return bytes;
}

const through = { launcher: true };

test('pack, unpack, export, import: a 2 GiB Linux file system needs less than 300 MiB and comes back equal', async (t) => {
  if (!skipUnless(t, 'mkfs.ext4')) return;
  const folder = await tempFolder(t);
  await mkdir(join(folder, 'files'));
  const bytes = await copySystemFiles(join(folder, 'files'), 150 * 2 ** 20);
  t.true(bytes > 60 * 2 ** 20, `only ${bytes} bytes of system files`);
  const image = join(folder, 'fs.raw');
  await writeImage(image, 2 * gib);
  await tool('mkfs.ext4', '-q', '-F', '-d', join(folder, 'files'), image);

  const words = ['pack', 'fs.raw', '--store', 'store', '--id', 'p', '--json'];
  const packed = await manoOk(t, folder, words, through);
  assertSmall(t, 'pack', packed, usualMibMax);
  const [{ logicalBytes, bytesRead, storedBytes }] = packed.json().images;
  t.is(logicalBytes, 2 * gib);
  t.true(bytesRead > bytes && storedBytes < bytesRead, `${bytesRead} read, ${storedBytes} stored`);

  const out = ['unpack', 'p', '--store', 'store', '--to', 'out'];
  assertSmall(t, 'unpack', await manoOk(t, folder, out, through), usualMibMax);
  await tool('cmp', image, join(folder, 'out/fs.raw'));
  const zip = ['export', 'p', 'p.zip', '--store', 'store'];
  assertSmall(t, 'export', await manoOk(t, folder, zip, through), peakMibMax);
  const back = ['import', 'p.zip', '--store', 'other'];
  assertSmall(t, 'import', await manoOk(t, folder, back, through), peakMibMax);
  const smaller = [
    'pack',
    'fs.raw',
    '--store',
    'zstd',
    '--id',
    'p',
    '--compression',
    'zstd',
    '--json',
  ];
  const zstd = await manoOk(t, folder, smaller, through);
  assertSmall(t, 'pack as zstd', zstd, peakMibMax);
  t.true(zstd.json().images[0].storedBytes < storedBytes);
  const outZstd = ['unpack', 'p', '--store', 'zstd', '--to', 'out-zstd'];
  assertSmall(t, 'unpack zstd', await manoOk(t, folder, outZstd, through), peakMibMax);
  await tool('cmp', image, join(folder, 'out-zstd/fs.raw'));
  const verified = ['verify', '--store', 'other'];
  assertSmall(t, 'verify', await manoOk(t, folder, verified, through), usualMibMax);
});

test('pack, unpack: a sparse image of 20 GiB needs less than 300 MiB and its data comes back', async (t) => {
  const folder = await tempFolder(t);
  const image = join(folder, 'sparse.raw');
  const pieces = Array.from({ length: 20 }, (_, index) => ({
    at: index * gib + index * 12_345,
    bytes: noise(`piece ${index}`, 2 * 2 ** 20),
  }));
  await writeImage(image, 20 * gib, pieces);
  const words = ['pack', 'sparse.raw', '--store', 'store', '--id', 'p'];
  assertSmall(t, 'pack', await manoOk(t, folder, words, through), usualMibMax);
  const out = ['unpack', 'p', '--store', 'store', '--to', 'out'];
  assertSmall(t, 'unpack', await manoOk(t, folder, out, through), usualMibMax);
  // Reading 20 GiB of zeros takes too long: the pieces, the size, and that the rest is holes.
  const unpacked = join(folder, 'out/sparse.raw');
  const { size, blocks } = await stat(unpacked);
  t.is(size, 20 * gib);
  t.true(blocks * 512 < 60 * 2 ** 20, `${blocks * 512} bytes are allocated`);
  const file = await open(unpacked);
  t.teardown(() => file.close());
  for (const { at, bytes } of pieces) {
    const found = Buffer.alloc(bytes.length);
    await file.read(found, 0, found.length, at);
    t.true(found.equals(bytes), `piece at ${at}`);
  }
});

for (const [what, tools, convert] of [
  [
    'qcow2',
    ['qemu-img'],
    (from: string, to: string) => ['convert', '-f', 'raw', '-O', 'qcow2', '-c', from, to],
  ],
  ['.raw.lz4', ['lz4'], (from: string, to: string) => ['-q', '-1', '-BI', from, to]],
] as const) {
  test(`pack: a compressed ${what} image of 220 MiB needs less than 300 MiB`, async (t) => {
    if (!skipUnless(t, ...tools)) return;
    const folder = await tempFolder(t);
    const [raw, made] = [join(folder, 'disk.raw'), join(folder, 'disk')];
    // Half of each piece does not compress, so that both paths of the readers are taken.
    const pieces = Array.from({ length: 44 }, (_, index) => ({
      at: index * 5 * 2 ** 20,
      bytes: Buffer.concat([noise(`${index}`, 2 ** 21), Buffer.alloc(2 ** 21, `${index} text `)]),
    }));
    await writeImage(raw, 220 * 2 ** 20, pieces);
    await tool(tools[0], ...convert(raw, made));
    const words = ['pack', 'disk', '--store', 'store', '--id', 'p'];
    assertSmall(t, 'pack', await manoOk(t, folder, words, through), peakMibMax);
    await manoOk(t, folder, ['unpack', 'p', '--store', 'store', '--to', 'out'], through);
    await sameFiles(t, raw, join(folder, 'out/disk'));
  });
}

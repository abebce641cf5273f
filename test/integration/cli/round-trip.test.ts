import { mkdir, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import {
  blockSize,
  noise,
  sameBytes,
  sameFiles,
  text,
  tool,
  writeImage,
} from '../../support/cli/disk-images.ts';
import { mano, manoOk } from '../../support/cli/mano.ts';
import { skipUnless } from '../../support/require-tool.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const mib = 2 ** 20;
/** Sizes at and around blocks, whole sectors and not, and every mixture of data and holes. */
const shapes: Record<string, [sizeBytes: number, pieces: { at: number; bytes: Buffer }[]]> = {
  'empty.raw': [0, []],
  'one-byte': [1, [{ at: 0, bytes: Buffer.from('x') }]],
  'block.raw': [blockSize, [{ at: 0, bytes: noise('block', blockSize) }]],
  'block-and-byte.raw': [blockSize + 1, [{ at: 0, bytes: text('over', blockSize + 1) }]],
  'holes.raw': [9 * mib, []],
  'mixed.raw': [
    9 * mib + 512,
    [
      { at: 0, bytes: noise('head', 100_000) },
      { at: 3 * mib - 7, bytes: text('middle', 2 * mib) },
      { at: 9 * mib + 500, bytes: noise('tail', 12) },
    ],
  ],
};
const names = Object.keys(shapes);

async function writeShapes(folder: string): Promise<void> {
  for (const [name, [sizeBytes, pieces]] of Object.entries(shapes)) {
    await writeImage(join(folder, name), sizeBytes, pieces);
  }
}

async function sameImages(t: ExecutionContext, a: string, b: string, images = names) {
  for (const name of images) await sameFiles(t, join(a, name), join(b, name));
}

test('pack and unpack: raw images of every shape come back equal, with their names and holes', async (t) => {
  const folder = await tempFolder(t);
  await writeShapes(folder);
  await manoOk(t, folder, ['pack', ...names, '--store', 'store', '--id', 'all']);
  await manoOk(t, folder, ['unpack', 'all', '--store', 'store', '--to', 'new/out']);
  t.deepEqual((await readdir(join(folder, 'new/out'))).sort(), [...names].sort());
  await sameImages(t, folder, join(folder, 'new/out'));
  t.is((await stat(join(folder, 'new/out/holes.raw'))).blocks, 0);
  const one = ['unpack', 'all', '--store', 'store', '--to', 'one', '--image', 'mixed.raw'];
  await manoOk(t, folder, one);
  t.deepEqual(await readdir(join(folder, 'one')), ['mixed.raw']);
});

test('pack --json: the last line names what was read and stored; nothing else is on standard output', async (t) => {
  const folder = await tempFolder(t);
  await writeShapes(folder);
  const packed = await manoOk(t, folder, ['pack', ...names, '--store', 'store', '--json']);
  t.is(packed.stderr, '');
  t.is(packed.stdout.split('\n').length, 2);
  const { package: id, images, seconds } = packed.json();
  t.regex(id, /^[0-9a-f-]{36}$/);
  t.true(seconds > 0);
  for (const [index, name] of names.entries()) {
    const [logicalBytes, pieces] = shapes[name]!;
    const image = images[index];
    const keys = 'name logicalBytes bytesRead sampledBlocks blocks newBlocks storedBytes mapSource';
    for (const key of keys.split(' ')) t.true(key in image, key);
    t.like(image, {
      name,
      logicalBytes,
      blocks: Math.ceil(logicalBytes / blockSize),
      sampledBlocks: 0,
      mapSource: 'full',
    });
    const dataBytes = pieces.reduce((sum, { bytes }) => sum + bytes.length, 0);
    t.true(image.bytesRead >= dataBytes, `${name}: ${image.bytesRead} read`);
    t.true(Number.isInteger(image.newBlocks) && Number.isInteger(image.storedBytes));
  }
  t.is(images[names.indexOf('holes.raw')].storedBytes, 0);
  const again = await manoOk(t, folder, ['pack', ...names, '--store', 'store', '--json']);
  t.deepEqual(
    again.json().images.map(({ newBlocks, storedBytes }: never) => [newBlocks, storedBytes]),
    names.map(() => [0, 0]),
    'what is stored already is not stored again',
  );
});

test('--workers: none, one or two make packages of the same blocks, and each can read the others', async (t) => {
  const folder = await tempFolder(t);
  await writeShapes(folder);
  for (const [workers, newBlocks] of [
    ['0', undefined],
    ['1', 0],
    ['2', 0],
  ] as const) {
    const at = ['--store', 'store', '--workers', workers];
    const parent = newBlocks === undefined ? [] : ['--parent', 'by-0'];
    const id = `by-${workers}`;
    const packed = await manoOk(t, folder, [
      'pack',
      'mixed.raw',
      '--id',
      id,
      ...parent,
      ...at,
      '--json',
    ]);
    if (newBlocks !== undefined) t.is(packed.json().images[0].newBlocks, newBlocks);
    await manoOk(t, folder, ['unpack', 'by-0', '--to', `out-${workers}`, ...at]);
    await sameImages(t, folder, join(folder, `out-${workers}`), ['mixed.raw']);
    await manoOk(t, folder, ['verify', ...at]);
  }
});

test('unpack --format raw.lz4: lz4 -d gives the image', async (t) => {
  if (!skipUnless(t, 'lz4')) return;
  const folder = await tempFolder(t);
  await writeShapes(folder);
  await manoOk(t, folder, ['pack', ...names, '--store', 'store', '--id', 'all']);
  const unpack = ['unpack', 'all', '--store', 'store', '--to', 'out', '--format', 'raw.lz4'];
  const { images } = (await manoOk(t, folder, [...unpack, '--json'])).json();
  for (const [index, name] of names.entries()) {
    const path = join(folder, images[index].path);
    await sameBytes(t, await tool('lz4', '-dc', path), join(folder, name));
  }
});

test('unpack --format qcow2: qemu-img finds no fault and the same bytes', async (t) => {
  if (!skipUnless(t, 'qemu-img')) return;
  const folder = await tempFolder(t);
  await writeShapes(folder);
  const sectors = ['empty.raw', 'block.raw', 'holes.raw', 'mixed.raw'];
  await manoOk(t, folder, ['pack', ...sectors, '--store', 'store', '--id', 'all']);
  await manoOk(t, folder, [...'unpack all --store store --to out --format qcow2'.split(' ')]);
  for (const name of sectors) {
    const made = join(folder, 'out', `${name}.qcow2`);
    await t.notThrowsAsync(tool('qemu-img', 'check', '-q', made), name);
    const compared = tool('qemu-img', 'compare', '-f', 'qcow2', made, join(folder, name));
    await t.notThrowsAsync(compared, name);
  }
});

for (const [what, options] of Object.entries({
  'as qemu-img makes it': [],
  compressed: ['-c'],
  'with clusters of 4 KiB': ['-o', 'cluster_size=4k'],
})) {
  test(`pack: qcow2 ${what} is read without QEMU and unpacks to the raw image`, async (t) => {
    if (!skipUnless(t, 'qemu-img')) return;
    const folder = await tempFolder(t);
    await writeShapes(folder);
    const [raw, qcow2] = [join(folder, 'mixed.raw'), join(folder, 'disk.qcow2')];
    await tool('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', ...options, raw, qcow2);
    await manoOk(t, folder, ['pack', 'disk.qcow2', '--store', 'store', '--id', 'p']);
    await manoOk(t, folder, ['unpack', 'p', '--store', 'store', '--to', 'out']);
    await sameFiles(t, raw, join(folder, 'out/disk.qcow2'));
  });
}

test('pack: a qcow2 image with a backing chain is read through the whole chain', async (t) => {
  if (!skipUnless(t, 'qemu-img', 'qemu-io')) return;
  const folder = await tempFolder(t);
  await writeShapes(folder);
  const at = (name: string) => join(folder, name);
  await tool('qemu-img', 'create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', 'mixed.raw', at('a.q'));
  await tool('qemu-io', '-c', 'write -P 7 1M 300k', '-c', 'write -z 3M 128k', at('a.q'));
  await tool('qemu-img', 'create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', 'a.q', at('b.q'));
  await tool('qemu-io', '-c', 'write -P 9 1100k 64k', '-c', 'write -P 1 9M 512', at('b.q'));
  await tool('qemu-img', 'convert', '-O', 'raw', at('b.q'), at('expected.raw'));
  await manoOk(t, folder, ['pack', 'b.q', '--store', 'store', '--id', 'p']);
  await manoOk(t, folder, ['unpack', 'p', '--store', 'store', '--to', 'out']);
  await sameFiles(t, at('expected.raw'), at('out/b.q'));
});

test('pack: a .raw.lz4 image is stored as the raw image that is in it', async (t) => {
  if (!skipUnless(t, 'lz4')) return;
  const folder = await tempFolder(t);
  await writeShapes(folder);
  const [raw, framed] = [join(folder, 'mixed.raw'), join(folder, 'disk.raw.lz4')];
  await tool('lz4', '-q', '-BI', raw, framed);
  await manoOk(t, folder, ['pack', 'mixed.raw', '--store', 'store', '--id', 'raw']);
  const packed = await manoOk(t, folder, ['pack', framed, '--store', 'store', '--json']);
  t.like(packed.json().images[0], { newBlocks: 0, logicalBytes: 9 * mib + 512 });
  const id = packed.json().package;
  await manoOk(t, folder, ['unpack', id, '--store', 'store', '--to', 'out']);
  await sameFiles(t, raw, join(folder, 'out/disk.raw.lz4'));
  await manoOk(t, folder, ['unpack', id, '--store=store', '--to=framed', '--format=raw.lz4']);
  await sameBytes(t, await tool('lz4', '-dc', join(folder, 'framed/disk.raw.lz4')), raw);
});

test('export and import: unzip and lz4 open the archive; an empty repository gives the images back', async (t) => {
  if (!skipUnless(t, 'unzip', 'lz4')) return;
  const folder = await tempFolder(t);
  await writeShapes(folder);
  await manoOk(t, folder, ['pack', ...names, '--store', 'store', '--id', 'all', '--name', 'Six']);
  const exported = await manoOk(t, folder, ['export', 'all', 'all.zip', '--store=store', '--json']);
  const { path, sizeBytes, sha256 } = exported.json();
  t.is((await stat(path)).size, sizeBytes);
  t.is((await tool('sha256sum', path)).toString().slice(0, 64), sha256);
  await mkdir(join(folder, 'unzipped'));
  await tool('unzip', '-q', path, '-d', join(folder, 'unzipped'));
  const index = await readFile(join(folder, 'unzipped/images/index.json'), 'utf8');
  for (const { name, file } of JSON.parse(index).images) {
    const plain = await tool('lz4', '-dc', join(folder, 'unzipped', file));
    await sameBytes(t, plain, join(folder, name));
  }
  const imported = await manoOk(t, folder, ['import', 'all.zip', '--store', 'other', '--json']);
  const { images, seconds, ...rest } = imported.json();
  t.deepEqual(rest, { package: 'all', signed: false, resumedBytes: 0 });
  t.true(images.length > 0 && seconds > 0);
  for (const name of ['name', 'logicalBytes', 'blocks', 'newBlocks', 'storedBytes', 'mapSource']) {
    t.true(name in images[0], name);
  }
  await manoOk(t, folder, ['unpack', 'all', '--store', 'other', '--to', 'out']);
  await sameImages(t, folder, join(folder, 'out'));
  const { packages } = (await manoOk(t, folder, ['list', '--store', 'other', '--json'])).json();
  t.like(packages[0], { package: 'all', name: 'Six' });
  t.true((await manoOk(t, folder, ['verify', '--store', 'other', '--json'])).json().isWhole);
});

test('export --qcow2 --prove: every block is proven and the disk in the archive is a qcow2 image', async (t) => {
  if (!skipUnless(t, 'unzip', 'qemu-img')) return;
  const folder = await tempFolder(t);
  await writeShapes(folder);
  const packed = await manoOk(t, folder, [...'pack mixed.raw --store s --id p --json'.split(' ')]);
  const words = 'export p p.zip --store s --qcow2 --prove --json'.split(' ');
  const { provenBlocks } = (await manoOk(t, folder, words)).json();
  t.true(provenBlocks >= packed.json().images[0].newBlocks, `${provenBlocks} proven`);
  await tool('unzip', '-q', join(folder, 'p.zip'), '-d', join(folder, 'unzipped'));
  const [disk] = (await readdir(join(folder, 'unzipped/images'))).filter((name) =>
    name.endsWith('.qcow2'),
  );
  const made = join(folder, 'unzipped/images', disk!);
  await t.notThrowsAsync(tool('qemu-img', 'compare', made, join(folder, 'mixed.raw')));
  await manoOk(t, folder, ['import', 'p.zip', '--store', 'other']);
  await manoOk(t, folder, ['unpack', 'p', '--store', 'other', '--to', 'out']);
  await sameFiles(t, join(folder, 'mixed.raw'), join(folder, 'out/mixed.raw'));
});

test('list, diff, delete, gc: a repository is looked after by its commands alone', async (t) => {
  const folder = await tempFolder(t);
  const old = noise('old', 40 * blockSize);
  await writeImage(join(folder, 'd.raw'), old.length, [{ at: 0, bytes: old }]);
  await manoOk(t, folder, [...'pack d.raw --store s --id old'.split(' ')]);
  const changed = { at: 3 * blockSize + 9, bytes: noise('new', 2 * blockSize) };
  await writeImage(join(folder, 'd.raw'), old.length, [{ at: 0, bytes: old }, changed]);
  await manoOk(t, folder, [...'pack d.raw --store s --id new --parent old'.split(' ')]);
  const { images } = (
    await manoOk(t, folder, ['diff', 'old', 'new', '--store=s', '--json'])
  ).json();
  t.like(images[0], { name: 'd.raw', status: 'changed', changedBytes: 3 * blockSize });
  t.deepEqual(images[0].ranges, [{ start: 3 * blockSize, length: 3 * blockSize }]);
  const { stdout } = await manoOk(t, folder, ['diff', 'old', 'new', '--store=s']);
  t.regex(stdout, /^d\.raw {2}changed {2}2\.50 MiB {2}2\.50 MiB {2}192\.0 KiB$/m);
  t.true(stdout.includes(`d.raw: ${3 * blockSize} bytes at ${3 * blockSize}`), stdout);
  const every = Array.from({ length: 21 }, (_, i) => ({
    at: 2 * i * blockSize,
    bytes: noise('x', 9),
  }));
  const first = { at: 0, bytes: old };
  await mkdir(join(folder, 'more'));
  await writeImage(join(folder, 'more/d.raw'), old.length + blockSize, [first, ...every]);
  await manoOk(t, folder, [...'pack more/d.raw --store s --id scattered --parent old'.split(' ')]);
  const short = (await manoOk(t, folder, ['diff', 'old', 'scattered', '--store=s'])).stdout;
  t.regex(short, /^d\.raw: and 1 more; --ranges prints all$/m);
  const long = (await manoOk(t, folder, ['diff', 'old', 'scattered', '--store=s', '--ranges']))
    .stdout;
  t.is(long.match(/ bytes at /g)?.length, 21);
  await manoOk(t, folder, ['delete', 'scattered', '--store', 's']);
  await manoOk(t, folder, ['delete', 'old', '--store', 's']);
  const { packages } = (await manoOk(t, folder, ['list', '--store', 's', '--json'])).json();
  t.deepEqual(
    packages.map((item: { package: string }) => item.package),
    ['new'],
  );
  const collected = (await manoOk(t, folder, ['gc', '--store', 's', '--json'])).json();
  t.true(collected.freedBytes >= 0 && collected.blockedBy.length === 0);
  await manoOk(t, folder, ['unpack', 'new', '--store', 's', '--to', 'out']);
  await sameFiles(t, join(folder, 'd.raw'), join(folder, 'out/d.raw'));
  await manoOk(t, folder, ['delete', 'new', '--store', 's']);
  t.true((await manoOk(t, folder, ['gc', '--store', 's', '--json'])).json().freedBytes > 2e6);
});

test('launcher: ./mano packs, unpacks and passes the exit code on', async (t) => {
  const folder = await tempFolder(t);
  await writeShapes(folder);
  const launcher = { launcher: true };
  const pack = ['pack', 'mixed.raw', '--store', 'store', '--id', 'p'];
  await manoOk(t, folder, pack, launcher);
  await manoOk(t, folder, ['unpack', 'p', '--store', 'store', '--to', 'out'], launcher);
  await sameFiles(t, join(folder, 'mixed.raw'), join(folder, 'out/mixed.raw'));
  t.is((await mano(folder, ['unpack', 'x', '--store=store', '--to=out'], launcher)).code, 3);
});

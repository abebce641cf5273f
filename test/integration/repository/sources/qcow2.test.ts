import { open, readFile, rename, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { openQcow2 } from '../../../../plugins/repository/sources/qcow2/source.ts';
import { Code } from '../../../../sdk/errors.ts';
import { skipUnless } from '../../../support/require-tool.ts';
import { tempFolder } from '../../../support/temp-folder.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';
import { below, equal, randomNumbers, readByExtents, readByFiles, run } from './images.ts';

const mebibyte = 2 ** 20;

/** What QEMU says the guest would see. */
async function byQemu(path: string, folder: string): Promise<Uint8Array> {
  const raw = join(folder, `out-${Math.random()}.raw`);
  await run('qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', path, raw);
  return readFile(raw);
}

/** A few hundred writes, zero writes and discards as a guest would do them. */
async function scribble(path: string, sizeBytes: number, random: () => number, commands = 25) {
  const words: string[] = [];
  for (let i = 0; i < commands; i += 1) {
    const length = 512 * (1 + below(random, 300));
    const offset = 512 * below(random, Math.max(1, Math.floor((sizeBytes - length) / 512)));
    const pattern = 1 + below(random, 255);
    const command = ['write -P', 'write -P', 'write -z', 'write -zu', 'discard'][below(random, 5)]!;
    const argument = command === 'write -P' ? ` ${pattern}` : '';
    words.push('-c', `${command}${argument} ${offset} ${length}`);
  }
  await run('qemu-io', '-f', 'qcow2', ...words, path);
}

type Shape = { name: string; options: string; compress?: boolean; sizeBytes?: number };

const shapes: Shape[] = [
  { name: 'version 2', options: 'compat=0.10' },
  { name: 'version 3', options: 'compat=1.1' },
  { name: 'clusters of 512 bytes', options: 'cluster_size=512', sizeBytes: 4 * mebibyte },
  { name: 'clusters of 4 KiB', options: 'cluster_size=4096' },
  { name: 'clusters of 2 MiB', options: 'cluster_size=2M' },
  { name: 'metadata preallocated', options: 'preallocation=metadata' },
  { name: 'space preallocated', options: 'preallocation=falloc', sizeBytes: 4 * mebibyte },
  { name: 'lazy refcounts', options: 'lazy_refcounts=on' },
  {
    name: 'a size that is no multiple of a cluster',
    options: 'cluster_size=64k',
    sizeBytes: 5 * mebibyte + 1536,
  },
  { name: 'refcounts of 1 bit', options: 'refcount_bits=1' },
];

for (const [seed, { name, options, sizeBytes = 16 * mebibyte }] of shapes.entries()) {
  test(`qcow2: what is read equals what QEMU reads (${name})`, async (t) => {
    if (!skipUnless(t, 'qemu-img', 'qemu-io')) return;
    const folder = await tempFolder(t);
    const random = randomNumbers(seed + 100);
    const path = join(folder, 'image.qcow2');
    await run('qemu-img', 'create', '-f', 'qcow2', '-o', options, path, String(sizeBytes));
    await scribble(path, sizeBytes, random);
    const expected = await byQemu(path, folder);
    const source = await openQcow2(path);
    t.teardown(() => source.close());
    t.is(source.sizeBytes, sizeBytes);
    t.true(equal(await readByExtents(source, 65536 + 512 * below(random, 9)), expected));
    t.true(equal(await readByFiles(source, 65536), expected));
  });
}

for (const type of ['zlib', 'zstd']) {
  for (const clusterSize of ['512', '4k', '64k', '2M']) {
    test(`qcow2: compressed clusters of ${clusterSize} with ${type} are read`, async (t) => {
      if (!skipUnless(t, 'qemu-img', 'qemu-io')) return;
      const folder = await tempFolder(t);
      const plain = join(folder, 'plain.qcow2');
      const packed = join(folder, 'packed.qcow2');
      const size = clusterSize === '512' ? 2 * mebibyte : 9 * mebibyte;
      await run('qemu-img', 'create', '-f', 'qcow2', plain, String(size));
      await scribble(plain, size, randomNumbers(5));
      const options = `compression_type=${type},cluster_size=${clusterSize}`;
      await run('qemu-img', 'convert', '-c', '-O', 'qcow2', '-o', options, plain, packed);
      await scribble(packed, size, randomNumbers(6), 3);
      const expected = await byQemu(packed, folder);
      const source = await openQcow2(packed);
      t.teardown(() => source.close());
      t.true(equal(await readByExtents(source, 65536), expected));
      t.true(equal(await readByFiles(source, 65536), expected));
    });
  }
}

test('qcow2: a chain of overlays reads as the guest sees it, and tells what each layer changed', async (t) => {
  if (!skipUnless(t, 'qemu-img', 'qemu-io')) return;
  const folder = await tempFolder(t);
  const random = randomNumbers(42);
  const inside = (name: string) => join(folder, name);
  await run('qemu-img', 'create', '-f', 'raw', inside('base.raw'), '6M');
  await run('qemu-io', '-f', 'raw', '-c', 'write -P 7 1M 3M', inside('base.raw'));
  const parents = ['base.raw', 'a.qcow2', 'b.qcow2', 'c.qcow2'];
  for (let i = 1; i < parents.length; i += 1) {
    const backing = ['-b', parents[i - 1]!, '-F', i === 1 ? 'raw' : 'qcow2'];
    const cluster = `cluster_size=${['64k', '4k', '128k'][i - 1]}`;
    await run(
      'qemu-img',
      'create',
      '-f',
      'qcow2',
      '-o',
      cluster,
      ...backing,
      inside(parents[i]!),
      `${6 + 2 * i}M`,
    );
    await scribble(inside(parents[i]!), (6 + 2 * i) * mebibyte, random, 8);
  }
  const top = inside('c.qcow2');
  const source = await openQcow2(top);
  t.teardown(() => source.close());
  const now = await byQemu(top, folder);
  t.true(equal(await readByExtents(source), now));
  t.true(equal(await readByFiles(source, 4 * 65536), now));
  t.deepEqual(
    source.chain.map(({ format }) => format),
    ['qcow2', 'qcow2', 'qcow2', 'raw'],
  );
  for (const depth of [1, 2]) {
    const before = new Uint8Array(source.sizeBytes);
    before.set(await byQemu(inside(parents[3 - depth]!), folder));
    for await (const { offset, length } of source.changedSince(depth)) {
      before.set(now.subarray(offset, offset + length), offset);
    }
    t.true(equal(before, now), `depth ${depth}`);
  }
  const changed: number[] = [];
  for await (const { length } of source.changed()) changed.push(length);
  t.true(changed.reduce((sum, length) => sum + length, 0) < source.sizeBytes / 2);
});

test('qcow2: internal snapshots are counted and the active state is read', async (t) => {
  if (!skipUnless(t, 'qemu-img', 'qemu-io')) return;
  const folder = await tempFolder(t);
  const path = join(folder, 'image.qcow2');
  await run('qemu-img', 'create', '-f', 'qcow2', path, '4M');
  await run('qemu-io', '-c', 'write -P 1 0 2M', path);
  await run('qemu-img', 'snapshot', '-c', 'first', path);
  await run('qemu-io', '-c', 'write -P 2 1M 2M', path);
  const source = await openQcow2(path);
  t.teardown(() => source.close());
  t.is(source.internalSnapshotCount, 1);
  t.true(equal(await readByExtents(source), await byQemu(path, folder)));
});

test('qcow2: a loop, a missing, a foreign and an unnamed backing file are refused', async (t) => {
  if (!skipUnless(t, 'qemu-img')) return;
  const folder = await tempFolder(t);
  const elsewhere = await tempFolder(t);
  const inside = (name: string) => join(folder, name);
  const create = (name: string, backing: string, ...more: string[]) =>
    run(
      'qemu-img',
      'create',
      '-q',
      '-f',
      'qcow2',
      '-u',
      ...more,
      '-b',
      backing,
      inside(name),
      '1M',
    );
  await create('a.qcow2', 'b.qcow2', '-F', 'qcow2');
  await create('b.qcow2', 'a.qcow2', '-F', 'qcow2');
  const failed = Code.FAILED_PRECONDITION;
  await throwsRpc(t, () => openQcow2(inside('a.qcow2')), {
    code: failed,
    reason: 'SOURCE_BACKING_LOOP',
  });
  await create('orphan.qcow2', 'nowhere.raw', '-F', 'raw');
  await throwsRpc(t, () => openQcow2(inside('orphan.qcow2')), {
    code: Code.NOT_FOUND,
    reason: 'SOURCE_NOT_FOUND',
  });
  await writeFile(join(elsewhere, 'secret'), 'secret');
  await create('thief.qcow2', join(elsewhere, 'secret'), '-F', 'raw');
  const outside = { code: Code.PERMISSION_DENIED, reason: 'SOURCE_BACKING_OUTSIDE' };
  await throwsRpc(t, () => openQcow2(inside('thief.qcow2'), { backingRoots: [folder] }), outside);
  await throwsRpc(t, () => openQcow2(inside('thief.qcow2'), { backingRoots: [] }), outside);
  await writeFile(inside('unnamed'), new Uint8Array(1000));
  await create('vague.qcow2', 'unnamed', '-F', 'raw');
  await forgetBackingFormat(inside('vague.qcow2'));
  await throwsRpc(t, () => openQcow2(inside('vague.qcow2')), {
    code: failed,
    reason: 'SOURCE_BACKING_FORMAT_UNKNOWN',
  });
  const source = await openQcow2(inside('vague.qcow2'), { probeBacking: true });
  t.teardown(() => source.close());
  t.is(source.chain[1]?.format, 'raw');
});

/** Turns the header extension that names the backing format into an unknown one. */
async function forgetBackingFormat(path: string) {
  const file = await open(path, 'r+');
  const header = new Uint8Array(512);
  await file.read(header, 0, 512, 0);
  const at = Buffer.from(header).indexOf(Buffer.from('e2792aca', 'hex'));
  await file.write(Buffer.from('01020304', 'hex'), 0, 4, at);
  await file.close();
}

test('qcow2: a chain of more than 64 backing files is refused', async (t) => {
  if (!skipUnless(t, 'qemu-img')) return;
  const folder = await tempFolder(t);
  const inside = (index: number) => join(folder, `${index}.qcow2`);
  await run('qemu-img', 'create', '-q', '-f', 'qcow2', inside(0), '1M');
  const template = join(folder, 'template');
  for (let i = 1; i <= 66; i += 1) {
    const backing = ['-u', '-F', 'qcow2', '-b', `${String(i - 1)}.qcow2`];
    await run('qemu-img', 'create', '-q', '-f', 'qcow2', ...backing, template, '1M');
    await rename(template, inside(i));
  }
  await throwsRpc(t, () => openQcow2(inside(66)), {
    code: Code.FAILED_PRECONDITION,
    reason: 'SOURCE_BACKING_TOO_DEEP',
  });
  const source = await openQcow2(inside(64));
  t.teardown(() => source.close());
  t.is(source.chain.length, 65);
});

test('qcow2: features that are not read are refused by name', async (t) => {
  if (!skipUnless(t, 'qemu-img')) return;
  const folder = await tempFolder(t);
  const path = join(folder, 'image.qcow2');
  const unsupported = { code: Code.UNIMPLEMENTED, reason: 'SOURCE_UNSUPPORTED' };
  await run('qemu-img', 'create', '-f', 'qcow2', '-o', `data_file=${folder}/data`, path, '1M');
  const external = await throwsRpc(t, () => openQcow2(path), unsupported);
  t.is(external.metadata.feature, 'an external data file');
  await run(
    'qemu-img',
    'create',
    '-f',
    'qcow2',
    '-o',
    'extended_l2=on,cluster_size=128k',
    path,
    '1M',
  );
  const extended = await throwsRpc(t, () => openQcow2(path), unsupported);
  t.is(extended.metadata.feature, 'extended L2 entries');
  const secret = [
    '--object',
    'secret,id=s,data=abc',
    '-o',
    'encrypt.format=luks,encrypt.key-secret=s',
  ];
  await run('qemu-img', 'create', ...secret, '-f', 'qcow2', path, '1M');
  const encrypted = await throwsRpc(t, () => openQcow2(path), unsupported);
  t.is(encrypted.metadata.feature, 'encryption');
});

test('qcow2: an image that was cut short is DATA_LOSS, never zeros', async (t) => {
  if (!skipUnless(t, 'qemu-img', 'qemu-io')) return;
  const path = join(await tempFolder(t), 'image.qcow2');
  await run('qemu-img', 'create', '-f', 'qcow2', path, '8M');
  await run('qemu-io', '-c', 'write -P 3 0 4M', path);
  const { size } = await stat(path);
  for (const cut of [size - 1, size - 65536, 3 * 65536, 65536, 100, 0]) {
    await truncate(path, cut);
    const error = await t.throwsAsync(async () => {
      const source = await openQcow2(path);
      try {
        await readByExtents(source);
      } finally {
        await source.close();
      }
    });
    const { reason } = error as unknown as { reason: string };
    t.regex(reason, /^SOURCE_(TRUNCATED|CORRUPT|NOT_QCOW2)$/, `cut at ${cut}`);
    await truncate(path, size);
  }
});

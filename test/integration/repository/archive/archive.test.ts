import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { exportArchive } from '../../../../plugins/repository/archive/export.ts';
import { importArchive } from '../../../../plugins/repository/archive/import.ts';
import type { StoredBlock } from '../../../../plugins/repository/targets/lz4-frame.ts';
import { Code } from '../../../../sdk/errors.ts';
import { skipUnless } from '../../../support/require-tool.ts';
import { tempFolder } from '../../../support/temp-folder.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';
import { equal, run } from '../sources/images.ts';
import { MemoryWriter, memoryPackage, record, vnfd } from './memory-package.ts';

const execute = promisify(execFile);
const sizes = { 'disk 0/ü.raw': 3 * 65536 + 77, memory: 80 * 65536, empty: 0 };

test('archive: what is imported equals what was exported', async (t) => {
  const folder = await tempFolder(t);
  const path = join(folder, 'a.zip');
  const reader = memoryPackage(sizes);
  const exported = await exportArchive(reader, path);
  t.deepEqual(await readdir(folder), ['a.zip']);
  t.is(exported.sizeBytes, (await stat(path)).size);
  t.is(
    exported.sha256,
    createHash('sha256')
      .update(await readFile(path))
      .digest('hex'),
  );
  t.true(exported.provenBlocks > 0);
  const writer = new MemoryWriter();
  const { packageId, about } = await importArchive(path, async () => writer);
  t.is(packageId, 'imported-1');
  t.is(writer.state, 'published');
  t.is(about.name, 'snapshot-1');
  t.deepEqual(about.metadata, reader.about.metadata);
  t.deepEqual(about.signature, { signed: false, trusted: false });
  t.deepEqual(
    new Map(writer.files),
    new Map([
      ['VNFD/vnfd.zip', vnfd],
      ['VNFSR/record.json', record],
    ]),
  );
  t.deepEqual(
    [...writer.images.values()].map(({ image }) => image),
    [...reader.images],
  );
  for (const [name, plain] of reader.plain) t.true(equal(writer.images.get(name)!.plain, plain));
});

test('archive: unzip and lz4 open it, and its digests are those of the files', async (t) => {
  if (!skipUnless(t, 'unzip', 'lz4', 'sha256sum')) return;
  const folder = await tempFolder(t);
  const path = join(folder, 'a.zip');
  const reader = memoryPackage({ disk0: 70 * 65536 + 1000 });
  await exportArchive(reader, path);
  await run('unzip', '-q', path, '-d', join(folder, 'out'));
  const inside = (name: string) => join(folder, 'out', name);
  await run('lz4', '-q', '-d', inside('images/disk0.raw.lz4'), inside('disk0'));
  t.true(equal(await readFile(inside('disk0')), reader.plain.get('disk0')!));
  const manifest = await readFile(inside('snapshot-1.mf'), 'utf8');
  t.regex(manifest, /^metadata:\n {2}vnf_snapshot_pkg_unique_id: pkg-1\n/);
  const listed = [
    ...manifest.matchAll(/Source: (.*)\nAlgorithm: SHA-256\nHash: ([0-9a-f]{64})\n/g),
  ];
  t.is(listed.length, 4);
  for (const [, name, digest] of listed) {
    const sum = await run('sha256sum', inside(name!));
    t.is(sum.slice(0, 64), String(digest));
  }
  const test1 = await run('unzip', '-t', path);
  t.regex(test1, /No errors detected/);
});

test('archive: proving reads back every block, sampling at most as many as asked', async (t) => {
  const folder = await tempFolder(t);
  const reader = memoryPackage({ disk: 120 * 65536 });
  let blocks = 0;
  for await (const _ of reader.storedBlocks('disk')) blocks += 1;
  const all = await exportArchive(reader, join(folder, 'all.zip'), { prove: 'all' });
  t.is(all.provenBlocks, blocks);
  const some = await exportArchive(reader, join(folder, 'some.zip'), { prove: 5 });
  t.is(some.provenBlocks, 5);
  const none = await exportArchive(reader, join(folder, 'none.zip'), { prove: 0 });
  t.is(none.provenBlocks, 0);
});

test('archive: a block of the store that does not decode is not exported', async (t) => {
  const folder = await tempFolder(t);
  const reader = memoryPackage({ disk: 65536 });
  async function* broken(): AsyncGenerator<StoredBlock> {
    yield { index: 0, encoding: 'lz4', bytes: Uint8Array.of(0x10, 65, 1, 0) };
  }
  const path = join(folder, 'a.zip');
  const call = () => exportArchive({ ...reader, storedBlocks: broken }, path);
  await throwsRpc(t, call, { code: Code.DATA_LOSS, reason: 'BLOCK_CORRUPT' });
  t.deepEqual(await readdir(folder), []);
});

test('archive: images in qcow2 are whole for qemu-img and are read back', async (t) => {
  if (!skipUnless(t, 'qemu-img', 'unzip')) return;
  const folder = await tempFolder(t);
  const path = join(folder, 'a.zip');
  const reader = memoryPackage({ disk0: 40 * 65536 + 512, memory: 65536 });
  await exportArchive(reader, path, {
    imageFormat: ({ name }) => (name === 'disk0' ? 'qcow2' : 'raw.lz4'),
    prove: 'all',
  });
  await run('unzip', '-q', path, '-d', join(folder, 'out'));
  const image = join(folder, 'out', 'images', 'disk0.qcow2');
  await run('qemu-img', 'check', image);
  await run('qemu-img', 'convert', '-O', 'raw', image, join(folder, 'raw'));
  t.true(equal(await readFile(join(folder, 'raw')), reader.plain.get('disk0')!));
  const writer = new MemoryWriter();
  const scratchFolder = join(folder, 'scratch');
  await mkdir(scratchFolder);
  await importArchive(path, async () => writer, { scratchFolder });
  t.true(equal(writer.images.get('disk0')!.plain, reader.plain.get('disk0')!));
  t.deepEqual(await readdir(scratchFolder), []);
});

test('archive: an export that is cancelled or finds its name taken leaves nothing behind', async (t) => {
  const folder = await tempFolder(t);
  const path = join(folder, 'a.zip');
  const reader = memoryPackage({ disk: 64 * 65536 });
  const { signal } = { signal: AbortSignal.abort() };
  const cancelled = { code: Code.CANCELLED, reason: 'CANCELLED' };
  await throwsRpc(t, () => exportArchive(reader, path, { signal }), cancelled);
  t.deepEqual(await readdir(folder), []);
  const controller = new AbortController();
  const blocks = reader.storedBlocks;
  const late = {
    ...reader,
    async *storedBlocks(name: string) {
      for await (const block of blocks(name)) {
        if (block.index > 20) controller.abort();
        yield block;
      }
    },
  };
  await throwsRpc(t, () => exportArchive(late, path, { signal: controller.signal }), cancelled);
  t.deepEqual(await readdir(folder), []);
  await writeFile(path, 'mine');
  const exists = { code: Code.ALREADY_EXISTS, reason: 'TARGET_EXISTS' };
  await throwsRpc(t, () => exportArchive(reader, path), exists);
  t.is(await readFile(path, 'utf8'), 'mine');
  t.deepEqual(await readdir(folder), ['a.zip']);
});

test('archive: what could not be imported again is not exported', async (t) => {
  const folder = await tempFolder(t);
  const reader = memoryPackage({});
  const refused = { code: Code.INVALID_ARGUMENT, reason: 'PACKAGE_NOT_EXPORTABLE' };
  const about = (change: object) => ({ ...reader, about: { ...reader.about, ...change } });
  const files = (path: string) => ({ ...reader, files: [{ path, sizeBytes: 1 }] });
  const bad = [
    about({ name: '../x' }),
    about({ metadata: { 'a key': 'x' } }),
    about({ metadata: { key: 'two\nlines' } }),
    files('../up'),
    files('images/x'),
    files('other.mf'),
    files('snapshot-1.mf'),
  ];
  for (const each of bad) {
    await throwsRpc(t, () => exportArchive(each, join(folder, 'a.zip')), refused);
  }
  t.deepEqual(await readdir(folder), []);
});

test('archive: openssl accepts the signature over the manifest, and refuses it over another', async (t) => {
  if (!skipUnless(t, 'openssl', 'unzip')) return;
  for (const kind of ['rsa:2048', 'ec']) {
    const folder = await tempFolder(t);
    const inside = (name: string) => join(folder, name);
    const signer = await makeSigner(folder, kind);
    const reader = memoryPackage({ disk: 65536 });
    const { signed } = await exportArchive(reader, inside('a.zip'), { signer });
    t.true(signed);
    const text = await run('unzip', '-p', inside('a.zip'), 'snapshot-1.mf');
    const at = text.indexOf('-----BEGIN CMS-----');
    await writeFile(inside('content'), text.slice(0, at));
    await writeFile(inside('sig.pem'), text.slice(at));
    const words = [
      'cms',
      '-verify',
      '-binary',
      '-inform',
      'PEM',
      '-in',
      inside('sig.pem'),
      '-content',
      inside('content'),
      '-CAfile',
      inside('ca.pem'),
      '-purpose',
      'any',
      '-out',
      inside('out'),
    ];
    const { stderr } = await execute('openssl', words);
    t.regex(stderr, /Verification successful/i, kind);
    await writeFile(inside('content'), text.slice(0, at).replace('pkg-1', 'pkg-2'));
    await t.throwsAsync(execute('openssl', words));

    const writer = () => Promise.resolve(new MemoryWriter());
    const authorities = [await readFile(inside('ca.pem'), 'utf8')];
    const trust = { authorities, required: true };
    const { about } = await importArchive(inside('a.zip'), writer, { trust });
    t.deepEqual(about.signature, { signed: true, signer: 'Test signer', trusted: true });
    const other = await makeSigner(await tempFolder(t), kind);
    const foreign = { authorities: [other.authority], required: true };
    await throwsRpc(t, () => importArchive(inside('a.zip'), writer, { trust: foreign }), {
      code: Code.PERMISSION_DENIED,
      reason: 'ARCHIVE_SIGNER_UNKNOWN',
    });
    await exportArchive(reader, inside('unsigned.zip'));
    await throwsRpc(t, () => importArchive(inside('unsigned.zip'), writer, { trust }), {
      code: Code.PERMISSION_DENIED,
      reason: 'ARCHIVE_UNSIGNED',
    });
  }
});

/** A certificate of an own authority, made by openssl. */
async function makeSigner(folder: string, kind: string) {
  const inside = (name: string) => join(folder, name);
  const key =
    kind === 'ec' ? ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'] : ['-newkey', kind];
  const request = ['req', ...key, '-nodes', '-subj'];
  await execute('openssl', [
    ...request,
    '/CN=Test authority',
    '-x509',
    '-days',
    '2',
    '-keyout',
    inside('ca.key'),
    '-out',
    inside('ca.pem'),
  ]);
  await execute('openssl', [
    ...request,
    '/CN=Test signer',
    '-keyout',
    inside('key.pem'),
    '-out',
    inside('csr.pem'),
  ]);
  await execute('openssl', [
    'x509',
    '-req',
    '-in',
    inside('csr.pem'),
    '-CA',
    inside('ca.pem'),
    '-CAkey',
    inside('ca.key'),
    '-CAcreateserial',
    '-days',
    '2',
    '-out',
    inside('cert.pem'),
  ]);
  return {
    certificate: await readFile(inside('cert.pem'), 'utf8'),
    privateKey: await readFile(inside('key.pem'), 'utf8'),
    authority: await readFile(inside('ca.pem'), 'utf8'),
  };
}

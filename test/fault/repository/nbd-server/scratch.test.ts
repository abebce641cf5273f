import { existsSync } from 'node:fs';
import { readdir, readFile, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { packFiles } from '../../../../app/store/pack.ts';
import { parseNbdAddress } from '../../../../plugins/repository/sources/nbd/address.ts';
import { NbdConnection } from '../../../../plugins/repository/sources/nbd/connection.ts';
import { isRpcError } from '../../../../sdk/errors.ts';
import { noise, text, tool, writeImage } from '../../../support/cli/disk-images.ts';
import { manoFails, manoOk } from '../../../support/cli/mano.ts';
import { preparedFolder } from '../../../support/cli/prepared-folder.ts';
import { serveDisk } from '../../../support/cli/serve-disk.ts';
import { skipUnless } from '../../../support/require-tool.ts';
import { smallFileSystem } from '../../../support/small-file-system.ts';

const mib = 2 ** 20;
const sizeBytes = 20 * mib + 512;

const prepare = preparedFolder(test, async (_t, folder) => {
  await writeImage(join(folder, 'disk'), sizeBytes, [
    { at: 0, bytes: text('start', mib) },
    { at: 5 * mib, bytes: noise('middle', 3 * mib) },
  ]);
  const paths = [join(folder, 'disk')];
  await packFiles(paths, { store: join(folder, 'store'), packageId: 'p' });
});

const p = (...more: string[]) => ['p', '--store', 'store', ...more];

async function connect(uri: string): Promise<NbdConnection> {
  return await NbdConnection.open(parseNbdAddress(uri), { contexts: [], timeoutMs: 30_000 });
}

async function readAll(client: NbdConnection): Promise<Buffer> {
  const whole = Buffer.alloc(sizeBytes);
  for (let at = 0; at < sizeBytes; at += mib) await client.read(at, whole.subarray(at, at + mib));
  return whole;
}

test('serve-disk: writes are read back by all clients, and the package stays as it was', async (t) => {
  if (!skipUnless(t, 'qemu-io', 'qemu-img')) return;
  const folder = await prepare(t);
  const temporary = join(folder, 'temporary');
  await tool('mkdir', temporary);
  const env = { TMPDIR: temporary };
  const { uri, end } = await serveDisk(t, folder, p('--writable', '--socket', 's.sock'), env);
  const other = await connect(uri);
  const commands = [
    'write -P 5 1000001 70000',
    'write -z 5M 200k',
    'discard 6M 1M',
    'write -f -P 7 20971009 1023',
  ];
  await tool('qemu-io', '-f', 'raw', ...commands.flatMap((command) => ['-c', command]), uri);
  const expected = Buffer.alloc(sizeBytes);
  (await readFile(join(folder, 'disk'))).copy(expected);
  expected.fill(5, 1_000_001, 1_070_001).fill(0, 5 * mib, 5 * mib + 200 * 1024);
  expected.fill(0, 6 * mib, 7 * mib).fill(7, 20_971_009);
  t.true(expected.equals(await readAll(other)));
  await other.close();
  t.deepEqual(await readdir(temporary), [], 'the scratch file has no name');
  t.is(await end(), 0);
  await manoOk(t, folder, ['verify', '--store', 'store']);
  await manoOk(t, folder, ['unpack', 'p', '--store', 'store', '--to', 'out']);
  await tool('cmp', join(folder, 'out/disk'), join(folder, 'disk'));
});

test('serve-disk: what was flushed to a kept scratch file survives kill -9, again and again', async (t) => {
  const folder = await prepare(t);
  const words = p('--scratch', 'changes', '--socket', 's.sock');
  const expected = await readFile(join(folder, 'disk'));
  for (let round = 1; round <= 3; round++) {
    const { uri, end } = await serveDisk(t, folder, words);
    const client = await connect(uri);
    t.true(expected.equals(await readAll(client)), `round ${round}`);
    const at = 5 * mib + round * 100_000;
    await client.write(at, Buffer.alloc(30_000, round));
    await client.zero((10 - round) * 65536, 2 * 65536 + 7);
    await client.flush();
    expected.fill(round, at, at + 30_000);
    expected.fill(0, (10 - round) * 65536, (12 - round) * 65536 + 7);
    // Not flushed, in blocks of their own: they may be lost, and nothing beside them.
    await client.write(12 * mib + round * 65536, Buffer.alloc(100, 9));
    await end('SIGKILL');
    const last = await serveDisk(t, folder, words);
    const again = await connect(last.uri);
    const found = await readAll(again);
    const lossy = found.subarray(12 * mib, 13 * mib);
    t.true(lossy.every((byte) => byte === 0 || byte === 9));
    lossy.copy(expected, 12 * mib);
    t.true(expected.equals(found), `after kill ${round}`);
    await again.close();
    t.is(await last.end(), 0);
  }
});

test('serve-disk: an orderly end keeps also what no client flushed', async (t) => {
  const folder = await prepare(t);
  const words = p('--scratch', 'changes');
  const first = await serveDisk(t, folder, words);
  const client = await connect(first.uri);
  await client.write(77, Buffer.from('kept'));
  t.is(await first.end(), 0);
  const second = await serveDisk(t, folder, words);
  const again = await connect(second.uri);
  const target = Buffer.alloc(4);
  await again.read(77, target);
  t.is(target.toString(), 'kept');
  await again.close();
});

test('serve-disk: a scratch file in use, of another image or damaged is refused', async (t) => {
  const folder = await prepare(t);
  const refused = (args: string[], code: number, reason: string, pattern: RegExp) =>
    manoFails(t, folder, ['serve-disk', ...args], { code, reason, text: pattern });
  const first = await serveDisk(t, folder, p('--scratch', 'changes'));
  await refused(p('--scratch', 'changes'), 4, 'SCRATCH_IN_USE', /another process/);
  t.is(await first.end(), 0);
  await writeImage(join(folder, 'other'), sizeBytes, [{ at: 0, bytes: text('other', mib) }]);
  const paths = [join(folder, 'other')];
  await packFiles(paths, { store: join(folder, 'store'), packageId: 'q' });
  const q = ['q', '--store', 'store', '--scratch', 'changes'];
  await refused(q, 4, 'SCRATCH_FOREIGN', /"disk" of package "p"/);
  await refused(p('--scratch', 'disk'), 7, 'OBJECT_DAMAGED', /does not begin with/);
  await truncate(join(folder, 'changes'), 1000);
  await refused(p('--scratch', 'changes'), 7, 'SCRATCH_DAMAGED', /cut short/);
});

test('serve-disk: a full disk fails the write with "no space" and keeps everything else', async (t) => {
  const small = await smallFileSystem(t, 3 * mib);
  if (small === undefined) return;
  const folder = await prepare(t);
  const words = p('--scratch', join(small, 'changes'));
  const { uri, stderr, end } = await serveDisk(t, folder, words);
  const client = await connect(uri);
  await client.write(0, Buffer.alloc(65536, 1));
  await client.flush();
  let failed = 0;
  for (let block = 1; block < 80; block++) {
    await client.write(block * 65536, Buffer.alloc(65536, 2)).catch((error) => {
      if (!isRpcError(error, 'TARGET_NO_SPACE')) throw error;
      failed += 1;
    });
  }
  t.true(failed > 20, `${failed} failed`);
  t.regex(stderr(), /SCRATCH_FULL/);
  const target = Buffer.alloc(65536);
  await client.read(0, target);
  t.true(target.every((byte) => byte === 1));
  await client.read(7 * mib, target);
  t.true(target.equals((await readFile(join(folder, 'disk'))).subarray(7 * mib, 7 * mib + 65536)));
  await client.close();
  await end();
  t.true((await stat(join(small, 'changes'))).size > sizeBytes);
  t.true(existsSync(join(small, 'changes')));
});

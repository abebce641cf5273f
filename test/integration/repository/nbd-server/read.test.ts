import { existsSync } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { packFiles } from '../../../../app/store/pack.ts';
import { parseNbdAddress } from '../../../../plugins/repository/sources/nbd/address.ts';
import { openNbd } from '../../../../plugins/repository/sources/nbd/source.ts';
import { Code } from '../../../../sdk/errors.ts';
import { flipBit, noise, text, tool, writeImage } from '../../../support/cli/disk-images.ts';
import { manoFails, manoOk } from '../../../support/cli/mano.ts';
import { preparedFolder } from '../../../support/cli/prepared-folder.ts';
import { serveDisk } from '../../../support/cli/serve-disk.ts';
import { skipUnless } from '../../../support/require-tool.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';
import { below, equal, randomNumbers, readByExtents } from '../sources/images.ts';

const mib = 2 ** 20;
/** Not a multiple of a block, and of 512 only. */
const sizeBytes = 40 * mib + 1536;

// Two disks and the memory of one machine.
const prepare = preparedFolder(test, async (_t, folder) => {
  const inside = (name: string) => join(folder, name);
  await writeImage(inside('disk.raw'), sizeBytes, [
    { at: 0, bytes: text('start', 300_000) },
    { at: 7 * mib + 5000, bytes: noise('middle', 6 * mib) },
    { at: 25 * mib, bytes: text('later', 3 * mib) },
    { at: sizeBytes - 100_000, bytes: noise('end', 100_000) },
  ]);
  await writeImage(inside('data'), 3 * mib, [{ at: mib, bytes: text('data', mib) }]);
  const paths = ['disk.raw', 'data'].map(inside);
  await packFiles(paths, { store: inside('store'), packageId: 'p' });
});

const p = (...more: string[]) => ['p', '--store', 'store', ...more];

async function image(folder: string): Promise<Buffer> {
  return await readFile(join(folder, 'disk.raw'));
}

test('serve-disk: nbdcopy, qemu-img and nbdinfo see the image, its holes included', async (t) => {
  if (!skipUnless(t, 'nbdcopy', 'nbdinfo', 'qemu-img')) return;
  const folder = await prepare(t);
  const { uri, ready, end } = await serveDisk(t, folder, p('--socket', 's.sock'));
  t.is((await stat(join(folder, 's.sock'))).mode & 0o777, 0o600);
  t.deepEqual(
    ready.exports.map(({ name }: { name: string }) => name),
    ['disk.raw', 'data'],
  );
  await tool('nbdcopy', uri, join(folder, 'copy.raw'));
  await tool('cmp', join(folder, 'copy.raw'), join(folder, 'disk.raw'));
  await tool('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', join(folder, 'disk.raw'), uri);
  await tool('nbdcopy', ready.exports[1].uri, join(folder, 'copy-2.raw'));
  await tool('cmp', join(folder, 'copy-2.raw'), join(folder, 'data'));
  const map = JSON.parse((await tool('nbdinfo', '--map', '--json', uri)).toString());
  const zeros = map.filter(({ type }: { type: number }) => type === 3);
  const block = (byte: number) => Math.floor(byte / 65536) * 65536;
  t.deepEqual(
    zeros.map(({ offset }: { offset: number }) => offset),
    [327_680, block(13 * mib + 5000) + 65536, 28 * mib],
  );
  const info = JSON.parse((await tool('nbdinfo', '--list', '--json', uri)).toString());
  t.is(info.exports.length, 2);
  t.is(info.exports[0].is_read_only, true);
  t.is(await end('SIGINT'), 0);
  t.false(existsSync(join(folder, 's.sock')));
  t.deepEqual(await readdir(join(folder, 'store/tmp')), []);
});

test('serve-disk: reads anywhere, of any length, by several clients at once, are the image', async (t) => {
  const folder = await prepare(t);
  const plain = await image(folder);
  const { uri } = await serveDisk(t, folder, ['p:disk.raw', '--store', 'store']);
  const clients = await Promise.all([1, 2, 3, 4].map(() => openNbd(parseNbdAddress(uri))));
  const random = randomNumbers(7);
  const readAny = async (client: (typeof clients)[number]) => {
    const offset = below(random, sizeBytes);
    const longest = below(random, 10) === 0 ? 3 * mib : 70_000;
    const target = new Uint8Array(1 + below(random, Math.min(longest, sizeBytes - offset)));
    await client.read(offset, target);
    return equal(target, plain.subarray(offset, offset + target.length));
  };
  for (let round = 0; round < 60; round++) {
    const results = await Promise.all(
      clients.flatMap((client) => [readAny(client), readAny(client)]),
    );
    if (results.includes(false)) t.fail(`round ${round} read other bytes`);
  }
  t.true(equal(await readByExtents(clients[0]!), plain));
  for (const client of clients) await client.close();
});

test('serve-disk: a deleted package stays readable to the end, through garbage collection', async (t) => {
  const folder = await prepare(t);
  const { uri, end } = await serveDisk(t, folder, p());
  await manoOk(t, folder, ['delete', 'p', '--store', 'store']);
  const during = await manoOk(t, folder, ['gc', '--store', 'store', '--json']);
  t.is(during.json().freedBytes, 0);
  const source = await openNbd(parseNbdAddress(uri));
  t.true(equal(await readByExtents(source), await image(folder)));
  await source.close();
  t.is(await end(), 0);
  const after = await manoOk(t, folder, ['gc', '--store', 'store', '--json']);
  t.true(after.json().freedBytes > 6 * mib);
});

test('serve-disk: a damaged block fails its own reads with EIO and a sentence, and nothing else', async (t) => {
  const folder = await prepare(t);
  const segments = join(folder, 'store/segments');
  for (const name of await readdir(segments)) {
    const path = join(segments, name);
    // The stored bytes of the noise are its own: this is in the middle of it.
    if ((await stat(path)).size > 6 * mib) await flipBit(path, 3 * mib);
  }
  const { uri, stderr, end } = await serveDisk(t, folder, p());
  const plain = await image(folder);
  const source = await openNbd(parseNbdAddress(uri));
  let broken = 0;
  for (let at = 0; at < sizeBytes; at += 65536) {
    const target = new Uint8Array(Math.min(65536, sizeBytes - at));
    try {
      await source.read(at, target);
      if (!equal(target, plain.subarray(at, at + target.length))) t.fail(`other bytes at ${at}`);
    } catch (error) {
      const { reason, metadata } = error as { reason: string; metadata: Record<string, string> };
      t.is(reason, 'SOURCE_READ_FAILED');
      t.is(metadata.errno, '5');
      broken += 1;
    }
  }
  t.is(broken, 1);
  t.regex(
    stderr(),
    /mano: export "disk.raw", .*package "p", image "disk.raw", byte \d+: .*run verify/,
  );
  await source.close();
  t.is(await end(), 0);
});

test('serve-disk: clients that vanish leave the server as it was', async (t) => {
  if (!skipUnless(t, 'nbdcopy')) return;
  const folder = await prepare(t);
  const { uri, end } = await serveDisk(t, folder, p());
  for (let round = 0; round < 3; round++) {
    const copy = tool('timeout', '-s', 'KILL', '0.05', 'nbdcopy', uri, 'null:');
    await copy.catch(() => undefined);
  }
  const source = await openNbd(parseNbdAddress(uri));
  t.true(equal(await readByExtents(source), await image(folder)));
  // A client that is connected does not hold up the end.
  t.is(await end(), 0);
  await source.close();
});

test('serve-disk: what cannot be served is refused in a sentence', async (t) => {
  const folder = await prepare(t);
  const refused = (args: string[], code: number, reason: string, pattern: RegExp) =>
    manoFails(t, folder, ['serve-disk', ...args], { code, reason, text: pattern });
  await refused(p('--listen', '0.0.0.0:0'), 2, 'TLS_REQUIRED', /needs TLS/);
  await refused(p('--listen', 'somewhere'), 2, 'LISTEN_INVALID', /HOST:PORT/);
  await refused(p('--listen', '127.0.0.1:0', '--certs', '.'), 2, 'CERTS_MISSING', /ca-cert.pem/);
  await refused(['p:none', '--store', 'store'], 3, 'IMAGE_NOT_FOUND', /"none"/);
  await refused(['q', '--store', 'store'], 3, 'PACKAGE_UNKNOWN', /"q"/);
  await refused(p('--scratch', 'x'), 2, 'USAGE', /disk.raw, data/);
  await refused(p('--socket', 'disk.raw'), 4, 'ADDRESS_IN_USE', /not a socket/);
  const { uri } = await serveDisk(t, folder, p('--socket', 's.sock'));
  await refused(p('--socket', 's.sock'), 4, 'ADDRESS_IN_USE', /another process/);
  await throwsRpc(t, openNbd({ ...parseNbdAddress(uri), exportName: 'none' }), {
    code: Code.NOT_FOUND,
    reason: 'NBD_EXPORT_UNKNOWN',
  });
});

test('serve-disk: a socket that a killed server left is used again', async (t) => {
  const folder = await prepare(t);
  const first = await serveDisk(t, folder, p('--socket', 's.sock'));
  await first.end('SIGKILL');
  t.true(existsSync(join(folder, 's.sock')));
  const { uri } = await serveDisk(t, folder, p('--socket', 's.sock'));
  const source = await openNbd(parseNbdAddress(uri));
  t.is(source.sizeBytes, sizeBytes);
  await source.close();
});

async function certificate(t: ExecutionContext, folder: string, name: string, isServer: boolean) {
  const inside = (file: string) => join(folder, file);
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
  const subject = ['-subj', `/CN=${name}`, '-keyout', inside(`${name}-key.pem`)];
  const out = ['-out', inside(`${name}-cert.pem`)];
  if (name === 'ca') {
    const usage = ['-addext', 'keyUsage=critical,keyCertSign'];
    await tool('openssl', 'req', '-x509', ...key, ...subject, ...out, ...usage);
    return;
  }
  const by = ['-CA', inside('ca-cert.pem'), '-CAkey', inside('ca-key.pem')];
  const names = isServer ? ['-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'] : [];
  const leaf = ['-addext', 'basicConstraints=critical,CA:FALSE', ...names];
  await tool('openssl', 'req', '-x509', ...by, ...key, ...subject, ...out, ...leaf);
  t.true(existsSync(inside(`${name}-cert.pem`)));
}

test('serve-disk: over TCP with certificates only their holders read, and never unencrypted', async (t) => {
  if (!skipUnless(t, 'openssl', 'qemu-img')) return;
  const folder = await prepare(t);
  await certificate(t, folder, 'ca', false);
  await certificate(t, folder, 'server', true);
  await certificate(t, folder, 'client', false);
  const { uri, ready } = await serveDisk(t, folder, p('--listen', '127.0.0.1:0', '--certs', '.'));
  t.regex(uri, /^nbds:\/\/127\.0\.0\.1:\d+\/disk\.raw$/);
  const address = parseNbdAddress(ready.uri.replace('nbds:', 'nbd:'));
  const read = (name: string) => readFile(join(folder, name), 'utf8');
  const ca = await read('ca-cert.pem');
  const tls = { ca, cert: await read('client-cert.pem'), key: await read('client-key.pem') };
  const source = await openNbd(address, { tls });
  t.true(equal(await readByExtents(source), await image(folder)));
  await source.close();
  const plain = await throwsRpc(t, openNbd(address), {
    code: Code.FAILED_PRECONDITION,
    reason: 'NBD_REFUSED',
  });
  t.regex(plain.metadata.why!, /^TLS required/);
  const disconnected = { code: Code.UNAVAILABLE, reason: 'NBD_DISCONNECTED' };
  await throwsRpc(t, openNbd(address, { tls: { ca } }), disconnected);
  const port = /:(\d+)\//.exec(uri)![1]!;
  const credentials = `tls-creds-x509,id=t,dir=${folder},endpoint=client`;
  const there = `driver=nbd,host=127.0.0.1,port=${port},export=disk.raw,tls-creds=t`;
  const words = ['compare', '--object', credentials, '--image-opts', there];
  await tool('qemu-img', ...words, `driver=raw,file.filename=${join(folder, 'disk.raw')}`);
});

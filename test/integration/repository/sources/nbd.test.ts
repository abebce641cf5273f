import { spawn } from 'node:child_process';
import { access, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { openNbd } from '../../../../plugins/repository/sources/nbd/source.ts';
import { openRaw } from '../../../../plugins/repository/sources/raw.ts';
import { Code } from '../../../../sdk/errors.ts';
import { skipUnless } from '../../../support/require-tool.ts';
import { tempFolder } from '../../../support/temp-folder.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';
import { equal, randomBytes, randomNumbers, readByExtents, run, writeSparse } from './images.ts';

/** Serves an image on a socket until the test ends. */
async function serve(t: ExecutionContext, folder: string, ...words: string[]): Promise<string> {
  const socketPath = join(folder, `nbd-${Math.random()}.sock`);
  const server = spawn('qemu-nbd', ['-r', '-t', '-e', '4', '-k', socketPath, ...words], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const ended = new Promise<void>((resolve) => server.once('close', () => resolve()));
  t.teardown(async () => {
    server.kill();
    await ended;
  });
  await appears(socketPath);
  return socketPath;
}

async function appears(path: string) {
  for (let left = 400; ; left -= 1) {
    try {
      await access(path);
      return;
    } catch (error) {
      if (left === 0) throw error;
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }
}

async function sparseImage(folder: string, seed: number) {
  const random = randomNumbers(seed);
  const path = join(folder, 'image.raw');
  const pieces = [0, 3_000_000, 9_437_184].map((offset) => ({
    offset,
    bytes: randomBytes(random, 300_000),
  }));
  const plain = await writeSparse(path, 12 * 2 ** 20 + 512, pieces);
  return { path, plain };
}

test('nbd: an export of qemu-nbd reads like the image, holes included', async (t) => {
  if (!skipUnless(t, 'qemu-nbd')) return;
  const folder = await tempFolder(t);
  const { path, plain } = await sparseImage(folder, 1);
  const socketPath = await serve(t, folder, '-f', 'raw', path);
  const source = await openNbd({ socketPath, exportName: '' });
  t.teardown(() => source.close());
  t.is(source.sizeBytes, plain.length);
  t.true(equal(await readByExtents(source, 4 * 2 ** 20), plain));
  let zeros = 0;
  for await (const { length, kind } of source.extents()) if (kind === 'zero') zeros += length;
  t.true(zeros > plain.length / 2);
  const odd = new Uint8Array(70_001).fill(9);
  await source.read(plain.length - 70_000, odd);
  t.true(equal(odd.subarray(0, 70_000), plain.subarray(plain.length - 70_000)));
  t.is(odd[70_000], 0);
});

test('nbd: a dirty bitmap and the depth of allocation tell what changed', async (t) => {
  if (!skipUnless(t, 'qemu-nbd', 'qemu-img', 'qemu-io')) return;
  const folder = await tempFolder(t);
  const base = join(folder, 'base.qcow2');
  const top = join(folder, 'top.qcow2');
  await run('qemu-img', 'create', '-f', 'qcow2', base, '8M');
  await run('qemu-io', '-c', 'write -P 1 0 8M', base);
  await run('qemu-img', 'create', '-f', 'qcow2', '-b', base, '-F', 'qcow2', top);
  await run('qemu-img', 'bitmap', '--add', top, 'since');
  await run('qemu-io', '-c', 'write -P 2 1M 64k', '-c', 'write -P 3 5M 128k', top);
  const expected = [
    { offset: 2 ** 20, length: 65536 },
    { offset: 5 * 2 ** 20, length: 131072 },
  ];
  const socketPath = await serve(t, folder, '-f', 'qcow2', '-A', '-B', 'since', top);
  for (const changes of [{ bitmap: 'since' }, { depth: 1 }]) {
    const source = await openNbd({ socketPath, exportName: '' }, { changes });
    t.teardown(() => source.close());
    const found = [];
    for await (const extent of source.changed()) found.push(extent);
    t.deepEqual(found, expected);
    t.true(source.changedOrigin.startsWith('qemu:'));
  }
  await throwsRpc(t, openNbd({ socketPath, exportName: '' }, { changes: { bitmap: 'other' } }), {
    code: Code.FAILED_PRECONDITION,
    reason: 'NBD_CONTEXT_MISSING',
  });
});

test('nbd: over TCP with TLS the image reads the same, and a wrong authority is refused', async (t) => {
  if (!skipUnless(t, 'qemu-nbd', 'openssl')) return;
  const folder = await tempFolder(t);
  const { path, plain } = await sparseImage(folder, 2);
  const inside = (name: string) => join(folder, name);
  await makeServerCertificate(folder);
  const port = await freePort();
  const words = [
    '--object',
    `tls-creds-x509,id=t,dir=${folder},endpoint=server,verify-peer=no`,
    '--tls-creds',
    't',
    '-f',
    'raw',
    '-r',
    '-t',
    '-e',
    '4',
    '-p',
    String(port),
    '-b',
    '127.0.0.1',
    '--pid-file',
    inside('pid'),
    path,
  ];
  const server = spawn('qemu-nbd', words, { stdio: 'ignore' });
  const ended = new Promise<void>((resolve) => server.once('close', () => resolve()));
  t.teardown(async () => {
    server.kill();
    await ended;
  });
  await appears(inside('pid'));
  const address = { host: '127.0.0.1', port, exportName: '' };
  const ca = await readFile(inside('ca-cert.pem'), 'utf8');
  const tls = { ca, servername: 'localhost' };
  const source = await openNbd(address, { tls });
  t.teardown(() => source.close());
  t.true(equal(await readByExtents(source), plain));
  const disconnected = { code: Code.UNAVAILABLE, reason: 'NBD_DISCONNECTED' };
  await throwsRpc(t, openNbd(address, { tls: { servername: 'localhost' } }), disconnected);
  const plainText = await throwsRpc(t, openNbd(address), {
    code: Code.FAILED_PRECONDITION,
    reason: 'NBD_REFUSED',
  });
  t.is(plainText.metadata.why?.slice(0, 12), 'TLS required');
});

/** An authority and a certificate for localhost, under the names that QEMU looks for. */
async function makeServerCertificate(folder: string) {
  const inside = (name: string) => join(folder, name);
  const key = ['-newkey', 'rsa:2048', '-nodes'];
  await run(
    'openssl',
    'req',
    '-x509',
    ...key,
    '-days',
    '2',
    '-subj',
    '/CN=Test authority',
    '-addext',
    'keyUsage=critical,keyCertSign',
    '-keyout',
    inside('ca-key.pem'),
    '-out',
    inside('ca-cert.pem'),
  );
  await run(
    'openssl',
    'req',
    ...key,
    '-subj',
    '/CN=localhost',
    '-keyout',
    inside('server-key.pem'),
    '-out',
    inside('server.csr'),
  );
  await writeFile(
    inside('extensions'),
    'subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n',
  );
  await run(
    'openssl',
    'x509',
    '-req',
    '-in',
    inside('server.csr'),
    '-CA',
    inside('ca-cert.pem'),
    '-CAkey',
    inside('ca-key.pem'),
    '-CAcreateserial',
    '-days',
    '2',
    '-extfile',
    inside('extensions'),
    '-out',
    inside('server-cert.pem'),
  );
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

test('nbd: a missing socket and an unknown export are told apart', async (t) => {
  if (!skipUnless(t, 'qemu-nbd')) return;
  const folder = await tempFolder(t);
  const { path } = await sparseImage(folder, 3);
  const nowhere = { socketPath: join(folder, 'nowhere'), exportName: '' };
  await throwsRpc(t, openNbd(nowhere), { code: Code.UNAVAILABLE, reason: 'NBD_DISCONNECTED' });
  const socketPath = await serve(t, folder, '-f', 'raw', '-x', 'disk', path);
  const unknown = openNbd({ socketPath, exportName: 'other' });
  await throwsRpc(t, unknown, { code: Code.NOT_FOUND, reason: 'NBD_EXPORT_UNKNOWN' });
  const source = await openNbd({ socketPath, exportName: 'disk' });
  const raw = await openRaw(path);
  t.teardown(() => raw.close());
  t.is(source.sizeBytes, raw.sizeBytes);
  await source.close();
  await source.close();
  await throwsRpc(t, source.read(0, new Uint8Array(1)), {
    code: Code.FAILED_PRECONDITION,
    reason: 'NBD_CLOSED',
  });
});

test('nbd: a server that dies in the middle ends every read that waits', async (t) => {
  if (!skipUnless(t, 'qemu-nbd')) return;
  const folder = await tempFolder(t);
  const { path } = await sparseImage(folder, 4);
  const socketPath = join(folder, 'short.sock');
  const server = spawn('qemu-nbd', ['-r', '-k', socketPath, '-f', 'raw', path], {
    stdio: 'ignore',
  });
  const ended = new Promise<void>((resolve) => server.once('close', () => resolve()));
  t.teardown(() => void server.kill('SIGKILL'));
  await appears(socketPath);
  const source = await openNbd({ socketPath, exportName: '' });
  server.kill('SIGSTOP');
  const reads = Array.from({ length: 30 }, (_, i) => source.read(i * 65536, new Uint8Array(65536)));
  server.kill('SIGKILL');
  server.kill('SIGCONT');
  await ended;
  for (const read of reads) {
    await throwsRpc(t, read, { code: Code.UNAVAILABLE, reason: 'NBD_DISCONNECTED' });
  }
});

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { packFiles } from '../../../../app/store/pack.ts';
import { noise, text, tool, writeImage } from '../../../support/cli/disk-images.ts';
import { manoFails, manoOk } from '../../../support/cli/mano.ts';
import { preparedFolder } from '../../../support/cli/prepared-folder.ts';
import { eventually } from '../../../support/eventually.ts';
import { skipUnless } from '../../../support/require-tool.ts';

const mib = 2 ** 20;
const sizeBytes = 12 * mib;

const prepare = preparedFolder(test, async (_t, folder) => {
  await writeImage(join(folder, 'image'), sizeBytes, [
    { at: mib + 3000, bytes: noise('a', 2 * mib) },
    { at: 9 * mib, bytes: text('b', 500_000) },
  ]);
  await packFiles([join(folder, 'image')], { store: join(folder, 'store'), packageId: 'p' });
});

/** Serves a file with `qemu-nbd` until the test ends. */
async function qemuNbd(t: ExecutionContext, folder: string, ...words: string[]): Promise<string> {
  const socketPath = join(folder, `q-${words.at(-1)}.sock`);
  const server = spawn('qemu-nbd', ['-t', '-e', '4', '-k', socketPath, ...words], {
    cwd: folder,
    stdio: 'ignore',
  });
  const ended = new Promise<void>((resolve) => server.once('close', () => resolve()));
  t.teardown(async () => {
    server.kill();
    await ended;
  });
  await eventually('qemu-nbd listens', () => existsSync(socketPath), 30_000);
  return socketPath;
}

test('unpack: an NBD export that held other bytes holds the image, and zeros beyond it', async (t) => {
  if (!skipUnless(t, 'qemu-nbd')) return;
  const folder = await prepare(t);
  await writeImage(join(folder, 'target'), sizeBytes + 3 * mib, [
    { at: 0, bytes: noise('old', sizeBytes + 3 * mib) },
  ]);
  const socketPath = await qemuNbd(t, folder, '-f', 'raw', '-x', 'disk', 'target');
  const uri = `nbd+unix:///disk?socket=${socketPath}`;
  const result = await manoOk(t, folder, [
    'unpack',
    'p',
    '--store',
    'store',
    '--to',
    uri,
    '--json',
  ]);
  t.is(result.json().images[0].path, uri);
  await tool('cmp', '-n', String(sizeBytes), join(folder, 'image'), join(folder, 'target'));
  await tool(
    'cmp',
    '-n',
    String(3 * mib),
    '-i',
    `${sizeBytes}:0`,
    join(folder, 'target'),
    '/dev/zero',
  );
});

const exportInfo = Buffer.from('0003e889045565a900000007000000030000000c0000', 'hex');
const writeZeroes = Buffer.from('2560951300000006', 'hex');

/** Passes on what client and server say, but takes WRITE_ZEROES from what the server can do. */
async function withoutZeroes(t: ExecutionContext, folder: string, socketPath: string) {
  const seen = { patched: 0, zeroes: 0 };
  const relay = createServer((client) => {
    const server = connect(socketPath);
    client.on('data', (data) => {
      const bytes = data as Buffer;
      if (bytes.includes(writeZeroes)) seen.zeroes += 1;
      server.write(bytes);
    });
    server.on('data', (data) => {
      const bytes = data as Buffer;
      const at = bytes.indexOf(exportInfo);
      if (at >= 0) {
        const flagsAt = at + exportInfo.length + 8;
        bytes.writeUInt16BE(bytes.readUInt16BE(flagsAt) & ~64, flagsAt);
        seen.patched += 1;
      }
      client.write(bytes);
    });
    client.on('close', () => server.destroy()).on('error', () => server.destroy());
    server.on('close', () => client.destroy()).on('error', () => client.destroy());
  });
  const path = join(folder, 'relay.sock');
  await new Promise<void>((resolve) => relay.listen(path, resolve));
  t.teardown(() => relay.close());
  return { path, seen };
}

test('unpack: an export that cannot make zeros itself is sent them', async (t) => {
  if (!skipUnless(t, 'qemu-nbd')) return;
  const folder = await prepare(t);
  await writeImage(join(folder, 'target'), sizeBytes + 3 * mib, [
    { at: 0, bytes: noise('old', sizeBytes + 3 * mib) },
  ]);
  const behind = await qemuNbd(t, folder, '-f', 'raw', '-x', 'disk', 'target');
  const { path, seen } = await withoutZeroes(t, folder, behind);
  const uri = `nbd+unix:///disk?socket=${path}`;
  await manoOk(t, folder, ['unpack', 'p', '--store', 'store', '--to', uri]);
  t.deepEqual(seen, { patched: 1, zeroes: 0 });
  await tool('cmp', '-n', String(sizeBytes), join(folder, 'image'), join(folder, 'target'));
  const beyond = ['-n', String(3 * mib), '-i', `${sizeBytes}:0`];
  await tool('cmp', ...beyond, join(folder, 'target'), '/dev/zero');
});

test('unpack: an export that is too small, read-only or absent is refused before anything is written', async (t) => {
  if (!skipUnless(t, 'qemu-nbd')) return;
  const folder = await prepare(t);
  await writeImage(join(folder, 'small'), sizeBytes - 512);
  await writeImage(join(folder, 'large'), sizeBytes);
  const refused = (uri: string, code: number, reason: string, pattern: RegExp, ...more: string[]) =>
    manoFails(t, folder, ['unpack', 'p', '--store', 'store', '--to', uri, ...more], {
      code,
      reason,
      text: pattern,
    });
  const small = `nbd+unix:///?socket=${await qemuNbd(t, folder, '-f', 'raw', 'small')}`;
  await refused(small, 4, 'TARGET_TOO_SMALL', /12582400 bytes, fewer than/);
  const large = `nbd+unix:///?socket=${await qemuNbd(t, folder, '-r', '-f', 'raw', 'large')}`;
  await refused(large, 5, 'TARGET_UNWRITABLE', /read-only/);
  await refused(small, 2, 'FIELD_VIOLATION', /"qcow2" is for files/, '--format', 'qcow2');
  await refused('nbd+unix:///?socket=none', 6, 'NBD_DISCONNECTED', /none/);
});

test('pack: an NBD export is packed, and with a dirty bitmap only what changed is read', async (t) => {
  if (!skipUnless(t, 'qemu-nbd', 'qemu-img', 'qemu-io')) return;
  const folder = await prepare(t);
  const disk = join(folder, 'disk.qcow2');
  const words = ['convert', '-f', 'raw', '-O', 'qcow2', join(folder, 'image'), disk];
  await tool('qemu-img', ...words);
  await tool('qemu-img', 'bitmap', '--add', disk, 'since');
  await tool('qemu-io', '-c', 'write -P 3 4M 64k', '-c', 'write -P 4 9M 4k', disk);
  const names = ['-f', 'qcow2', '-B', 'since', '-x', 'image', 'disk.qcow2'];
  const uri = `nbd+unix:///image?socket=${await qemuNbd(t, folder, ...names)}`;
  const pack = ['pack', uri, '--store', 'store', '--json'];
  const mapped = await manoOk(t, folder, [
    ...pack,
    '--parent',
    'p',
    '--bitmap',
    'since',
    '--id',
    'm',
  ]);
  const [image] = mapped.json().images;
  t.is(image.name, 'image');
  t.is(image.mapSource, 'map');
  t.regex(image.mapReason, /qemu:dirty-bitmap:since of nbd\+unix/);
  t.is(image.bytesRead, 131_072);
  const whole = await manoOk(t, folder, [...pack, '--image-name', 'all', '--id', 'w']);
  t.is(whole.json().images[0].name, 'all');
  const same = await manoOk(t, folder, ['diff', 'm', 'w', '--store', 'store', '--json']);
  t.is(same.json().images[0].changedBytes, 0);
  await manoOk(t, folder, ['unpack', 'm', '--store', 'store', '--to', 'm']);
  await manoOk(t, folder, ['unpack', 'w', '--store', 'store', '--to', 'w']);
  await tool('cmp', join(folder, 'm/image'), join(folder, 'w/all'));
  await tool('qemu-img', 'compare', '-U', '-F', 'raw', disk, join(folder, 'm/image'));
  const refused = { code: 2, reason: 'BITMAP_WITHOUT_NBD', text: /is a file/ };
  await manoFails(t, folder, ['pack', 'image', '--bitmap', 'since', '--store', 'store'], refused);
  const missing = { code: 4, reason: 'NBD_CONTEXT_MISSING', text: /qemu:dirty-bitmap:x/ };
  await manoFails(t, folder, ['pack', uri, '--bitmap', 'x', '--store', 'store'], missing);
});

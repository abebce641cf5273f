import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { packFiles } from '../../../../app/store/pack.ts';
import { tool } from '../../../support/cli/disk-images.ts';
import { serveDisk } from '../../../support/cli/serve-disk.ts';
import { eventually } from '../../../support/eventually.ts';
import { skipUnless } from '../../../support/require-tool.ts';
import { tempFolder } from '../../../support/temp-folder.ts';
import { buildGuestImage, tools } from '../../drivers/qemu/lab.ts';

const project = join(import.meta.dirname, '../../../..');
const images = process.env.MICROMANO_CACHE ?? join(project, 'build');
const bootMs = 150_000;

test('serve-disk: a guest boots from a package and writes, and the package is what it was', async (t) => {
  if (!skipUnless(t, ...tools, 'nbdcopy')) return;
  buildGuestImage();
  const folder = await tempFolder(t);
  const guest = (name: string) => join(images, 'guest-image', name);
  const { commandLine } = JSON.parse(await readFile(guest('demo-guest.json'), 'utf8'));
  const store = join(folder, 'store');
  await packFiles([guest('demo-guest-root.qcow2')], { store, packageId: 'p', imageName: 'root' });
  const readOnly = await serveDisk(t, folder, ['p', '--store', 'store']);
  const before = join(folder, 'before.raw');
  await tool('nbdcopy', readOnly.uri, before);

  const { uri, end, stderr } = await serveDisk(t, folder, ['p', '--store', 'store', '--writable']);
  const socketPath = new URL(uri).searchParams.get('socket');
  const drive = `driver=raw,node-name=d,file.driver=nbd,file.server.type=unix,file.export=root,file.server.path=${socketPath}`;
  const words = ['-nodefaults', '-display', 'none', '-accel', 'tcg', '-cpu', 'max', '-m', '128'];
  const machine = spawn(
    'qemu-system-x86_64',
    [
      ...words,
      ...['-kernel', guest('demo-guest-vmlinuz'), '-initrd', guest('demo-guest-initrd.gz')],
      ...['-append', commandLine.replace('quiet loglevel=3', ''), '-serial', 'file:console.log'],
      ...['-blockdev', drive, '-device', 'virtio-blk-pci,drive=d', '-device', 'virtio-rng-pci'],
    ],
    { cwd: folder, stdio: 'ignore' },
  );
  const ended = new Promise<void>((resolve) => machine.once('close', () => resolve()));
  t.teardown(async () => {
    machine.kill('SIGKILL');
    await ended;
  });
  const console = () => readFile(join(folder, 'console.log'), 'utf8').catch(() => '');
  const mounted = /EXT4-fs \(vda\): (mounted|re-mounted)/;
  await eventually('the guest mounts its root', async () => mounted.test(await console()), bootMs);
  // A mounted file system writes at least its superblock.
  const after = join(folder, 'after.raw');
  const differs = async () => {
    await tool('nbdcopy', uri, after);
    return tool('cmp', '-s', before, after).then(
      () => false,
      () => true,
    );
  };
  await eventually('the guest has written', differs, 60_000);
  machine.kill('SIGKILL');
  await ended;
  t.is(stderr(), '');
  t.is(await end(), 0);
  await tool('nbdcopy', readOnly.uri, after);
  await tool('cmp', before, after);
  t.is(await readOnly.end(), 0);
});

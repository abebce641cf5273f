/**
 * The memory of a guest under load: the project's own guest image boots under QEMU without KVM with
 * the changed disk beside it, runs that disk's database and reads through its files, and is stopped.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { constants, copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GuestAgent, withGuestAgent } from '../../plugins/drivers/qemu/channels/guest-agent.ts';
import { QmpClient } from '../../plugins/drivers/qemu/channels/qmp-client.ts';
import { Code, RpcError } from '../../sdk/errors.ts';
import { projectFolder } from '../program.ts';

const memoryMib = 512;
const bootDeadlineMs = 5 * 60 * 1000;
const loadDeadlineMs = 10 * 60 * 1000;
const retryMs = 500;

const load = `
mount -t proc proc /proc
mount -t tmpfs run /run
mount --bind /dev /dev || true
pg_ctlcluster 15 main start
su postgres -c 'pgbench --no-vacuum --client 2 --random-seed 7 --transactions 200 bench'
su postgres -c "psql -q -c 'select count(distinct bid), sum(abalance) from pgbench_accounts' bench"
cd /srv/repository && git log --stat >/dev/null
find /usr/bin /usr/lib/python3* -type f | sort | head -n 1500 | xargs cat | sha256sum
`;

/** Writes the memory image. Takes minutes: the guest's processor is emulated. */
export async function captureMemory(disk: string, target: string): Promise<void> {
  const image = buildGuestImage();
  const folder = await mkdtemp(join(tmpdir(), 'mano-bench-guest-'));
  const child = spawn('qemu-system-x86_64', guestArguments(image, disk), {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const exited = once(child, 'exit');
  try {
    await untilReady(join(folder, 'agent.sock'), () => child.exitCode);
    await runLoad(join(folder, 'agent.sock'));
    const qmp = await QmpClient.connect(join(folder, 'qmp.sock'));
    await qmp.execute('stop');
    await copyFile(join(folder, 'memory'), target, constants.COPYFILE_FICLONE);
  } finally {
    child.kill('SIGKILL');
    await exited;
    await rm(folder, { recursive: true, force: true });
  }
}

function buildGuestImage(): string {
  const script = join(projectFolder, 'plugins/drivers/qemu/guest-image/build.sh');
  const { status } = spawnSync('sh', [script], { stdio: ['ignore', 2, 2] });
  const folder = join(process.env.MICROMANO_CACHE ?? join(projectFolder, 'build'), 'guest-image');
  if (status === 0) return folder;
  throw failed(`the guest image was not built (exit code ${status})`);
}

function guestArguments(image: string, disk: string): string[] {
  const drive = (path: string, format: string) => [
    '-drive',
    `file=${path.replaceAll(',', ',,')},format=${format},if=virtio,snapshot=on`,
  ];
  return [
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-accel', 'tcg', '-cpu', 'max'],
    ...['-machine', 'q35,memory-backend=ram', '-m', `${memoryMib}`],
    ...['-object', `memory-backend-file,id=ram,size=${memoryMib}M,mem-path=memory,share=on`],
    ...['-kernel', join(image, 'demo-guest-vmlinuz')],
    ...['-initrd', join(image, 'demo-guest-initrd.gz')],
    ...['-append', 'quiet loglevel=3 mitigations=off cryptomgr.notests'],
    ...drive(join(image, 'demo-guest-root.qcow2'), 'qcow2'),
    ...drive(disk, 'raw'),
    ...['-qmp', 'unix:qmp.sock,server=on,wait=off', '-device', 'virtio-serial-pci'],
    ...['-chardev', 'socket,id=agent,path=agent.sock,server=on,wait=off'],
    ...['-device', 'virtserialport,chardev=agent,name=org.qemu.guest_agent.0'],
    ...['-device', 'virtio-rng-pci'],
  ];
}

async function untilReady(agent: string, exitCode: () => number | null): Promise<void> {
  const end = performance.now() + bootDeadlineMs;
  for (;;) {
    try {
      return await withGuestAgent(agent, retryMs * 4, async (opened) => void (await opened.ping()));
    } catch (error) {
      if (exitCode() !== null) throw failed(`QEMU ended with ${exitCode()}`);
      if (performance.now() > end) throw error;
      await new Promise((resolve) => setTimeout(resolve, retryMs));
    }
  }
}

async function runLoad(path: string): Promise<void> {
  const agent = await GuestAgent.open(path, loadDeadlineMs);
  try {
    const result = await agent.exec('/bin/busybox', ['chroot', '/data', '/bin/sh', '-ec', load]);
    if (result.exitCode !== 0)
      throw failed(`the load ended with ${result.exitCode}: ${result.stderr}`);
  } finally {
    agent.close();
  }
}

function failed(text: string): RpcError {
  return new RpcError(Code.INTERNAL, 'BENCH_CORPUS_FAILED', `corpus: ${text}`);
}

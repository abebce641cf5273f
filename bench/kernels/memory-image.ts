// Boots the project's demo guest under emulation, lets it work, and keeps its RAM as a file by
// guest address: a memory image for `bench/kernels.ts --memory`. Needs what `./mano setup --system`
// installs.
// Usage: node bench/kernels/memory-image.ts DISK TARGET
//   DISK: an ext4 image with bin/ and include/, which the guest reads, such as one made by
//   `mkfs.ext4 -d /usr`; it is not changed.
import { execFileSync, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { withGuestAgent } from '../../plugins/drivers/qemu/channels/guest-agent.ts';
import { QmpClient } from '../../plugins/drivers/qemu/channels/qmp-client.ts';
import { machineArguments, runFiles } from '../../plugins/drivers/qemu/machine/arguments.ts';

const memoryMib = 256;
/** Emulated on a busy machine; it takes about 10 and 60 seconds on an idle one. */
const bootDeadlineMs = 180_000;
const workDeadlineMs = 600_000;
const pollMs = 500;

// Reading fills the page cache, the programs fill heaps: numbers, texts and their index.
const job = `
mount -o remount,ro /data
find /data/bin /data/include -type f | head -n 2000 > /run/list
head -n 250 /run/list | xargs cat | sha256sum
perl -e 'my (%words, @numbers);
  while (my $path = <STDIN>) {
    chomp $path;
    open my $file, "<", $path or next;
    while (<$file>) {
      $words{$_}++ for /([a-z_]{4,20})/gi;
      push @numbers, length;
      last if $. > 200;
    }
  }
  my @sorted = sort { $words{$a} <=> $words{$b} } keys %words;
  $| = 1;
  print scalar(@sorted), "\\n";
  sleep 600' \\
  < /run/list > /run/words 2> /run/problems &
n=0; until [ -s /run/words ] || [ $n -gt 300 ]; do sleep 1; n=$((n + 1)); done
cat /run/words
`;

const [disk, target] = process.argv.slice(2);
if (!disk || !target) throw new Error('usage: node bench/kernels/memory-image.ts DISK TARGET');
const image = new URL('../../build/guest-image/', import.meta.url).pathname;
const guest = JSON.parse(readFileSync(join(image, 'demo-guest.json'), 'utf8'));
const folder = mkdtempSync(join(tmpdir(), 'micromano-memory-'));
const layer = (name: string, backing: string, format: string) => {
  const path = join(folder, `${name}.qcow2`);
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', backing, '-F', format, path]);
  return {
    name,
    serial: name,
    chain: [
      { nodeName: `${name}-top`, path, format: 'qcow2' as const },
      { nodeName: `${name}-base`, path: backing, format: format as 'qcow2' | 'raw' },
    ],
  };
};

const qemu = spawn(
  'qemu-system-x86_64',
  machineArguments({
    name: 'memory-image',
    uuid: randomUUID(),
    generationGuid: randomUUID(),
    accelerator: 'tcg',
    machineType: 'q35',
    cpuModel: 'max',
    virtualCpus: 1,
    memoryMib,
    kernel: {
      path: join(image, guest.kernel),
      initrdPath: join(image, guest.initrd),
      commandLine: guest.commandLine,
    },
    disks: [
      layer('root', join(image, 'demo-guest-root.qcow2'), 'qcow2'),
      layer('data', resolve(disk), 'raw'),
    ],
    interfaces: [],
    incoming: false,
  }),
  { cwd: folder, stdio: ['ignore', 'inherit', 'inherit'] },
);
const ended = once(qemu, 'exit');
const path = (name: string) => join(folder, name);
const wait = () => new Promise((done) => setTimeout(done, pollMs));
try {
  const end = performance.now() + bootDeadlineMs;
  while (!existsSync(path(runFiles.qmp)) && performance.now() < end) await wait();
  const qmp = await QmpClient.connect(path(runFiles.qmp));
  await qmp.execute('cont');
  for (;;) {
    const ping = withGuestAgent(path(runFiles.agent), 2000, (agent) => agent.ping());
    if (
      await ping.then(
        () => true,
        () => performance.now() > end,
      )
    )
      break;
  }
  const result = await withGuestAgent(path(runFiles.agent), workDeadlineMs, (agent) =>
    agent.exec('/bin/sh', ['-c', job]),
  );
  console.error(result.stdout + result.stderr);
  await qmp.execute('stop');
  copyFileSync(path(runFiles.memory), target);
  await qmp.execute('quit');
  qmp.close();
} finally {
  qemu.kill();
  await ended;
  rmSync(folder, { recursive: true });
}

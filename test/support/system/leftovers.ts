import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DriverService } from '../../../gen/nfv/driver/v1/driver_pb.js';
import { RepositoryService } from '../../../gen/nfv/repository/v1/repository_pb.js';
import { eventually } from '../eventually.ts';
import { strayFiles, strayProcesses } from './qemu-leftovers.ts';
import type { SystemRig } from './system-rig.ts';

/** Work that goes on in the background may still remove what it used. */
const tidyMsMax = 15_000;

/** Every file that a site at rest may have, by its path in the data folder. */
const known: readonly RegExp[] = [
  /^(serve\.log|site\.json)$/,
  /^pki\/(clients\/)?[a-z-]+\.pem$/,
  /^run\/([a-z]+\.sock|kernel\.lock(-journal)?)$/,
  /^plugins\/(vnfm|vim|nfvo)\/(vnfm|vim|nfvo)\.db(-wal|-shm|\.lock|\.lock-journal)?$/,
  /^plugins\/(wasmvm|host-[a-z]+)\/state\.db(-wal|-shm|\.lock|\.lock-journal)?$/,
  /^plugins\/qemu\/state\.sqlite(-wal|-shm)?$/,
  /^plugins\/qemu\/images\/[0-9a-f]{64}$/,
  /^plugins\/qemu\/layers\/[0-9a-f]{16}\.(qcow2|raw)$/,
  /^plugins\/qemu\/leases\/watchdog\.(sock|log)$/,
  // The last leases that the watchdog ended, so that a late release learns of it.
  /^plugins\/qemu\/leases\/[0-9a-f-]{36}\.fired$/,
  /^plugins\/qemu\/nbd\/nbd\.log$/,
  /^plugins\/qemu\/links\/[0-9a-f]{20}\/port-\d+\.sock$/,
  /^plugins\/qemu\/machines\/[0-9a-f]{20}\/run-\d+\/([a-z0-9]+\.sock|memory\.img|qemu\.(log|pid))$/,
  // The disks of an import keep the names that they came in under.
  /^plugins\/qemu\/snapshots\/[0-9a-f]{20}\/(memory\.img|device-state\.bin|disk-[^/]+\.raw)$/,
  /^plugins\/repository\/store\/repository\.(config|reserve)$/,
  /^plugins\/repository\/store\/packages\/[^/]+\.manifest$/,
  /^plugins\/repository\/store\/(segments\/[0-9a-f]{64}\.segment|indexes\/[0-9a-f]{64}\.index)$/,
  /^plugins\/(wasmvm|host-[a-z]+)\/channels\/[0-9a-f]{16}\.sock$/,
  /^plugins\/(wasmvm|host-[a-z]+)\/consoles\/[^/]+\.log$/,
  /^plugins\/(wasmvm|host-[a-z]+)\/programs\/[0-9a-f]{64}\.wasm$/,
  /^plugins\/(wasmvm|host-[a-z]+)\/volumes\/[^/]+\.raw$/,
  /^plugins\/(wasmvm|host-[a-z]+)\/snapshots\/[^/]+\/[^/]+\.img$/,
];

/** Files that belong to nothing, and processes that nobody minds. */
export async function leftovers(rig: SystemRig): Promise<string[]> {
  let found: string[] = [];
  const tidy = async () => {
    found = [...(await files(rig)), ...(await orphans(rig))];
    return found.length === 0;
  };
  await eventually('nothing is left over', tidy, tidyMsMax).catch(() => {});
  return found;
}

async function files(rig: SystemRig): Promise<string[]> {
  const paths = await walk(rig.folder, '');
  const unknown = paths.filter((path) => !known.some((pattern) => pattern.test(path)));
  return [
    ...unknown.map((path) => `${path} is left over`),
    ...(await ownerless(rig, paths)),
    ...(await stagingFolders(rig)),
  ];
}

/** Volumes and snapshots on the disk that the driver does not have. */
async function ownerless(rig: SystemRig, paths: string[]): Promise<string[]> {
  if (rig.driver === 'qemu') return strayFiles(rig);
  const found = await Promise.all(rig.hosts.map((host) => ownerlessOn(rig, host, paths)));
  return found.flat();
}

async function ownerlessOn({ site, folder }: SystemRig, target: string, paths: string[]) {
  const driver = site.client(DriverService, 'vim');
  const { volumes } = await driver.listVolumes({}, { target });
  const { snapshots } = await driver.listInstanceSnapshots({}, { target });
  const images = paths.filter((path) => path.startsWith(`plugins/${target}/volumes/`));
  const folders = await readdir(join(folder, 'plugins', target, 'snapshots'));
  const ids = snapshots.map(({ snapshotId }) => snapshotId);
  return [
    ...(images.length === volumes.length
      ? []
      : [`${volumes.length} volumes have the files ${images.join(', ')}`]),
    ...folders
      .filter((name) => !ids.includes(name))
      .map((name) => `snapshots/${name} is left over`),
  ];
}

/** Folders in which something is made must be empty when nothing is being made. */
async function stagingFolders({ folder }: SystemRig): Promise<string[]> {
  const staging = ['store/tmp', 'scratch'].map((name) => join(folder, 'plugins/repository', name));
  const found: string[] = [];
  for (const path of staging) {
    for (const name of await readdir(path)) found.push(`${path}/${name} is left over`);
  }
  return found;
}

/** Processes that mention the folder. */
async function orphans(rig: SystemRig): Promise<string[]> {
  if (rig.driver === 'qemu') return strayProcesses(rig);
  const { folder, site } = rig;
  const found: string[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name) || Number(name) === site.pid) continue;
    const command = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '');
    if (command.includes(folder)) found.push(`process ${name}: ${command.replaceAll('\0', ' ')}`);
  }
  return found;
}

async function walk(root: string, folder: string): Promise<string[]> {
  const entries = await readdir(join(root, folder), { withFileTypes: true });
  const nested = await Promise.all(
    entries.map((entry) => {
      const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
      return entry.isDirectory() ? walk(root, path) : [path];
    }),
  );
  return nested.flat();
}

/** Frees what no package needs; nothing may be damaged by it. */
export async function collectGarbage({ site }: SystemRig): Promise<void> {
  for await (const _ of site.client(RepositoryService, 'vnfm').collectGarbage({}));
}

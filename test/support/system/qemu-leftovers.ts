import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { DriverService } from '../../../gen/nfv/driver/v1/driver_pb.js';
import { folderName, layerFileName } from '../../../plugins/drivers/qemu/state/folders.ts';
import type { Records } from '../../../plugins/drivers/qemu/state/records.ts';
import { processesOf } from '../../integration/drivers/qemu/lab.ts';
import { difference } from './difference.ts';
import type { SystemRig } from './system-rig.ts';

const folderOf = (rig: SystemRig) => join(rig.folder, 'plugins/qemu');
const driverOf = (rig: SystemRig) => rig.site.client(DriverService, 'vim');

/** Process ids of QEMU by the guest's name, and all other processes of a site but its own. */
export async function guestProcesses(rig: SystemRig) {
  const machines: [string, number][] = [];
  const others: [number, string][] = [];
  for (const pid of await processesOf(rig.folder)) {
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    const name = /^[^\0]*qemu-system[^\0]*\0-name\0([^,\0]+)/.exec(command)?.[1];
    if (name) machines.push([name, pid]);
    else if (command !== '' && pid !== rig.pid) others.push([pid, command.replaceAll('\0', ' ')]);
  }
  return { machines, others };
}

/** One machine for each guest that the driver lists, at most one watchdog, and nothing else. */
export async function strayProcesses(rig: SystemRig): Promise<string[]> {
  const { machines, others } = await guestProcesses(rig);
  const { computes } = await driverOf(rig).listComputes({}, { target: rig.driver });
  const listed = computes.map(({ computeId }) => computeId);
  const names = machines.map(([name]) => name);
  const isWatchdog = ([, command]: [number, string]) => command.includes('leases/watchdog');
  return [
    ...difference('machines', names, listed),
    ...(new Set(names).size < names.length ? [`a guest has two machines: ${names}`] : []),
    ...(others.filter(isWatchdog).length > 1 ? ['there are two watchdogs'] : []),
    ...others
      .filter((process) => !isWatchdog(process))
      .map(([pid, command]) => `process ${pid}: ${command}`),
  ];
}

/** Files and folders of the driver that no volume, snapshot or guest has. */
export async function strayFiles(rig: SystemRig): Promise<string[]> {
  const folder = folderOf(rig);
  const { computes } = await driverOf(rig).listComputes({}, { target: rig.driver });
  const { snapshots } = await driverOf(rig).listInstanceSnapshots({}, { target: rig.driver });
  const machines = computes.map(({ computeId }) => folderName(computeId));
  const sockets = (await readdir(join(folder, 'nbd'))).filter((name) => name !== 'nbd.log');
  const found = [
    ...difference('folders of machines', await readdir(join(folder, 'machines')), machines),
    ...difference(
      'folders of snapshots',
      await readdir(join(folder, 'snapshots')),
      snapshots.map(({ snapshotId }) => folderName(snapshotId)),
    ),
    ...sockets.map((name) => `nbd/${name} is left over`),
    ...difference('layers', await readdir(join(folder, 'layers')), neededLayers(folder)),
  ];
  for (const machine of machines) {
    const runs = await readdir(join(folder, 'machines', machine)).catch(() => []);
    if (runs.length !== 1) found.push(`${machine} has the runs ${runs.join(', ') || 'none'}`);
  }
  return found;
}

/** The file names of the layers below what volumes and snapshots are at. */
function neededLayers(folder: string): string[] {
  const database = new DatabaseSync(join(folder, 'state.sqlite'), { readOnly: true });
  try {
    const list = <K extends keyof Records>(kind: K): Records[K][] =>
      database
        .prepare('SELECT body FROM record WHERE kind = ?')
        .all(kind)
        .map((row) => JSON.parse(row.body as string));
    const layers = new Map(list('layer').map((layer) => [layer.layerId, layer]));
    const needed = new Set<string>();
    const tops = [
      ...list('volume').map(({ activeLayerId }) => activeLayerId),
      ...list('snapshot').flatMap((snapshot) => Object.values(snapshot.layers)),
    ];
    for (let id of tops) {
      for (let layer = layers.get(id); layer; layer = layers.get(id)) {
        needed.add(layerFileName(layer));
        id = layer.parentId ?? '';
      }
    }
    return [...needed];
  } finally {
    database.close();
  }
}

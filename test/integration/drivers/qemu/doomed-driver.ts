import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ExecutionContext } from 'ava';
import { ComputeState } from '../../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { type Driver, disksOf, inGuest, processesIn, roles } from './lab.ts';

const program = fileURLToPath(new URL('./driver-process.ts', import.meta.url));
export const snapshotRequest = (snapshotId: string) => ({
  computeId: 'gateway',
  snapshotId,
  memory: true,
  volumeIds: disksOf('gateway'),
});

/** A driver that makes calls and dies where `failpoints` says; resolves when it is dead or done. */
export async function runDriver(
  t: ExecutionContext,
  folder: string,
  calls: unknown[],
  failpoints: string,
): Promise<{ child: ChildProcess; output: string; killed: boolean }> {
  const child = spawn(process.execPath, [program, folder, JSON.stringify(calls)], {
    env: { ...process.env, NFV_FAILPOINTS: failpoints },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  const exited = once(child, 'exit');
  let output = '';
  const done = new Promise<void>((resolve) => {
    child.stdout!.on('data', (data) => {
      output += data;
      if (output.includes('done\n')) resolve();
    });
  });
  const killed = await Promise.race([exited.then(() => true), done.then(() => false)]);
  return { child, output, killed };
}

/** The machines that belong to a data folder. */
export async function machinesIn(folder: string): Promise<number> {
  return (await processesIn(join(folder, 'machines'))).length;
}

/** Nothing half-made is left, and both guests run and write to their disks. */
export async function assertWhole(
  t: ExecutionContext,
  driver: Driver,
  folder: string,
): Promise<void> {
  const { computes } = await driver.client.listComputes({});
  t.deepEqual(
    computes.map(({ state }) => state),
    [ComputeState.RUNNING, ComputeState.RUNNING],
  );
  t.is(await machinesIn(folder), 2, 'one process for each machine');
  for (const role of roles) {
    t.is(await inGuest(driver, role, 'echo alive > /data/alive; sync; cat /data/alive'), 'alive');
  }
  const { snapshots } = await driver.client.listInstanceSnapshots({});
  const files = await readdir(join(folder, 'snapshots'));
  t.is(files.length, snapshots.length, `snapshots: ${files}`);
  const leases = (await readdir(join(folder, 'leases'))).filter((name) => name.endsWith('.json'));
  t.deepEqual(leases, [], 'no lease is in force');
}

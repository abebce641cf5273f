import { execFileSync } from 'node:child_process';
import { mkdtemp, readdir, readFile, readlink, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ExecutionContext } from 'ava';
import { DriverService, StateAfterRevert } from '../../../../gen/nfv/driver/v1/driver_pb.js';
import { withGuestAgent } from '../../../../plugins/drivers/qemu/channels/guest-agent.ts';
import { callVnf } from '../../../../plugins/drivers/qemu/channels/vnf-channel.ts';
import { openDriver } from '../../../../plugins/drivers/qemu/driver.ts';
import type { DriverContext } from '../../../../plugins/drivers/qemu/state/context.ts';
import { type Client, createClient } from '../../../../sdk/client.ts';
import { createLogger } from '../../../../sdk/ports/logger.ts';
import { inProcessTransport } from '../../../../sdk/transport/in-process.ts';

export const bootDeadlineMs = 120_000;
const project = fileURLToPath(new URL('../../../../', import.meta.url));
export const mebibyte = 1024 * 1024;

/** The tools that every test with a guest needs. */
export const tools = ['qemu-system-x86_64', 'qemu-img', 'qemu-nbd', 'qemu-ga', 'busybox'];

export type Driver = {
  client: Client<typeof DriverService>;
  context: DriverContext;
  close(): Promise<void>;
};

/** A driver in this process, spoken to as by its callers, only without a socket. */
export async function startDriver(dataFolder: string): Promise<Driver> {
  const logger = createLogger({ level: 'error' });
  const driver = await openDriver({ instanceId: 'qemu', dataFolder, config: undefined, logger });
  const transport = inProcessTransport(driver.service.handle);
  const client = createClient(DriverService, transport, { deadlineMs: 120_000 });
  return { client, context: driver.context, close: driver.close };
}

/** Builds the guest image when it is not there yet. */
export function buildGuestImage(): void {
  execFileSync(join(project, 'plugins/drivers/qemu/guest-image/build.sh'), { stdio: 'pipe' });
}

/** A data folder that takes its machines and watchdogs along when the test ends. */
export async function dataFolder(t: ExecutionContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'micromano-qemu-'));
  t.teardown(async () => {
    for (const pid of await processesIn(folder)) process.kill(pid, 'SIGKILL');
    await until(
      'its processes to end',
      10_000,
      async () => (await processesIn(folder)).length === 0,
    );
    await rm(folder, { recursive: true, force: true });
  });
  return folder;
}

/** The processes whose working folder is inside a folder: machines and watchdogs. */
export async function processesIn(folder: string): Promise<number[]> {
  const found: number[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const cwd = await readlink(`/proc/${name}/cwd`).catch(() => '');
    const stat = await readFile(`/proc/${name}/stat`, 'utf8').catch(() => ' Z ');
    if (cwd.startsWith(folder) && !stat.includes(') Z ')) found.push(Number(name));
  }
  return found;
}

/** The processes that work in a folder or are given a path in it: also NBD servers. */
export async function processesOf(folder: string, program = ''): Promise<number[]> {
  const found = new Set(program === '' ? await processesIn(folder) : []);
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const command = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '');
    if (command.includes(folder) && command.startsWith(program)) found.add(Number(name));
  }
  return [...found];
}

/** Waits until something holds; an Error names what did not. */
export async function until<T>(
  what: string,
  deadlineMs: number,
  check: () => Promise<T | undefined | false>,
): Promise<T> {
  const end = performance.now() + deadlineMs;
  let last: unknown;
  for (;;) {
    try {
      const result = await check();
      if (result) return result;
    } catch (error) {
      last = error;
    }
    if (performance.now() > end) {
      throw new Error(`waited ${deadlineMs} ms for ${what}`, { cause: last });
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export type VnfStatus = {
  role: string;
  counter: number;
  lines: number;
  prepared: boolean;
  generation: string;
};

/** Speaks to the VNF program in a guest. */
export async function vnf(driver: Driver, computeId: string, op = 'status'): Promise<VnfStatus> {
  const { compute } = await driver.client.getCompute({ computeId });
  return (await callVnf(compute!.vnfChannel, { op }, 5000)) as unknown as VnfStatus;
}

/** Runs a shell command in a guest through its agent. */
export async function inGuest(driver: Driver, computeId: string, command: string): Promise<string> {
  const path = driver.context.machine(computeId)!.path('agent');
  const result = await withGuestAgent(path, 10_000, (agent) =>
    agent.exec('/bin/sh', ['-c', command]),
  );
  if (result.exitCode !== 0) throw new Error(`${command}: ${result.exitCode} ${result.stderr}`);
  return result.stdout.trim();
}

/** A component of the demo VNF with two disks and a link, running and counting. */
export async function startGuest(driver: Driver, role: 'gateway' | 'database'): Promise<void> {
  const { client } = driver;
  await client.createVolume({ volumeId: `${role}-root`, image: 'demo-guest-root' });
  await client.createVolume({ volumeId: `${role}-data`, image: 'demo-guest-data' });
  await client.createNetwork({ networkId: 'link' });
  await client.createCompute({
    computeId: role,
    spec: {
      image: 'demo-guest',
      volumes: [
        { volumeId: `${role}-root`, name: 'root', boot: true },
        { volumeId: `${role}-data`, name: 'data' },
      ],
      interfaces: [{ networkId: 'link' }],
      guestParameters: { role },
    },
  });
  await client.operateCompute({ computeId: role, operation: 1 });
}

/** Waits until the VNF of a guest answers. */
export const booted = (driver: Driver, role: string): Promise<VnfStatus> =>
  until(`${role} to boot`, bootDeadlineMs, () => vnf(driver, role));

export const roles = ['gateway', 'database'] as const;
export const seconds = (count: number) => ({ seconds: BigInt(count), nanos: 0 });
export const disksOf = (role: string) => [`${role}-root`, `${role}-data`];

/** Both components of the demo VNF, with traffic between them. */
export async function startPair(driver: Driver): Promise<void> {
  for (const role of roles) await startGuest(driver, role);
  for (const role of roles) await booted(driver, role);
  await counting(driver, 'database', 3);
}

/** Waits until a component has counted so far. */
export const counting = (driver: Driver, role: string, beyond: number): Promise<VnfStatus> =>
  until(`${role} to count beyond ${beyond}`, 40_000, async () => {
    const status = await vnf(driver, role);
    return status.counter > beyond && status;
  });

/**
 * Freeze, hold, capture, release, thaw, for all components: what the manager does for a consistent
 * snapshot.
 */
export async function snapshotPair(driver: Driver, suffix: string): Promise<void> {
  const { client } = driver;
  const freezes = await Promise.all(
    roles.map((computeId) => client.quiesceCompute({ computeId, deadline: seconds(30) })),
  );
  const holds = await Promise.all(
    roles.map((computeId) => client.holdCompute({ computeId, deadline: seconds(30) })),
  );
  await Promise.all(
    roles.map((computeId, index) =>
      client.createInstanceSnapshot({
        computeId,
        snapshotId: `${computeId}-${suffix}`,
        memory: true,
        volumeIds: disksOf(computeId),
        leaseId: holds[index]!.lease!.leaseId,
      }),
    ),
  );
  for (const [index, computeId] of roles.entries()) {
    await client.releaseCompute({ computeId, leaseId: holds[index]!.lease!.leaseId });
    await client.unquiesceCompute({ computeId, leaseId: freezes[index]!.lease!.leaseId });
  }
}

/** Loads a snapshot into all components while they stand, then lets all run on. */
export async function revertPair(driver: Driver, suffix: string): Promise<void> {
  const { client } = driver;
  for (const computeId of roles) {
    const snapshotId = `${computeId}-${suffix}`;
    const stateAfter = StateAfterRevert.HELD;
    await client.revertToInstanceSnapshot({ computeId, snapshotId, stateAfter });
  }
  for (const computeId of roles) await client.releaseCompute({ computeId });
  for (const computeId of roles) await client.unquiesceCompute({ computeId });
}

/**
 * The watchdog: a process of its own that keeps the deadlines of holds and freezes when everything
 * else is dead. usage: node watchdog.ts LEASES_FOLDER
 *
 * It answers `{"check": LEASE_ID}` on `watchdog.sock` with `{"armed": true}` once it knows the
 * lease, fires what is overdue, and ends when there has been nothing to watch for a while. Nothing
 * here waits for the driver.
 */
import { closeSync, constants, openSync, rmSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { withGuestAgent } from '../channels/guest-agent.ts';
import { JsonLineSocket } from '../channels/json-lines.ts';
import { QmpClient } from '../channels/qmp-client.ts';
import { runFiles } from '../machine/arguments.ts';
import { hostBootId, type LeaseFile, LeaseFiles, monotonicNowMs } from './lease-files.ts';

/** Between two looks, unless a deadline is nearer or a new lease wakes us. */
const tickMs = 100;
/** A new lease within this time saves the start of a process. */
const idleMs = 15_000;
/**
 * How long one lease is tried to be ended: an agent may be silent until its machine was resumed.
 */
const fireDeadlineMs = 60_000;
const retryMs = 200;
const qmpDeadlineMs = 2000;
const agentDeadlineMs = 5000;
const lineBytesMax = 4096;

const folder = process.argv[2]!;
const leases = new LeaseFiles(folder);
const firing = new Set<string>();
let lastUsedMs = monotonicNowMs();
let wake = () => {};

/** Lets the machine of a lease run on. Returns what was found. */
async function resume(lease: LeaseFile): Promise<string> {
  const qmp = await QmpClient.connect(join(lease.runFolder, runFiles.watch), qmpDeadlineMs);
  try {
    const { UUID: uuid } = await qmp.execute<{ UUID: string }>('query-uuid');
    if (uuid !== lease.uuid) return 'another machine is there';
    const before = await qmp.execute<{ status: string }>('query-status');
    if (before.status === 'running') return 'was running';
    await qmp.execute('cont', undefined, qmpDeadlineMs);
    const after = await qmp.execute<{ status: string }>('query-status');
    if (after.status !== 'running') throw new Error(`it is ${after.status} after cont`);
    return 'resumed';
  } finally {
    qmp.close();
  }
}

/** Thaws the file systems of the machine of a lease: only the number that thaw returns tells. */
async function thaw(lease: LeaseFile): Promise<string> {
  const path = join(lease.runFolder, runFiles.agent);
  const count = await withGuestAgent(path, agentDeadlineMs, (agent) => agent.thaw());
  return `thawed ${count} file systems`;
}

async function untilDone(act: () => Promise<string>): Promise<string> {
  const end = monotonicNowMs() + fireDeadlineMs;
  for (;;) {
    try {
      return await act();
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      if (/ENOENT|ECONNREFUSED/.test(text)) return 'the machine is gone';
      if (monotonicNowMs() > end) return `failed: ${text}`;
    }
    await new Promise((resolve) => setTimeout(resolve, retryMs));
  }
}

async function fire(lease: LeaseFile): Promise<void> {
  if (firing.has(lease.leaseId)) return;
  firing.add(lease.leaseId);
  try {
    const outcomes: string[] = [];
    if (lease.resume) outcomes.push(await untilDone(() => resume(lease)));
    if (lease.thaw) outcomes.push(await untilDone(() => thaw(lease)));
    await leases.writeOutcome(lease, outcomes.join('; ') || 'nothing to do');
  } finally {
    firing.delete(lease.leaseId);
  }
}

/** Fires what is overdue; returns how long nothing else can be due, at most `tickMs`. */
async function tick(): Promise<number> {
  const { inForce, fired } = await leases.list();
  const bootId = hostBootId();
  let restMs = tickMs;
  for (const lease of inForce) {
    const leftMs = lease.bootId === bootId ? lease.deadlineMonotonicMs - monotonicNowMs() : 0;
    if (leftMs > 0) restMs = Math.min(restMs, leftMs);
    else if (await leases.claim(lease.leaseId)) void fire(lease);
  }
  // Claimed by a watchdog that died before it acted.
  for (const lease of fired) if (lease.outcome === undefined) void fire(lease);
  if (inForce.length > 0 || firing.size > 0) lastUsedMs = monotonicNowMs();
  return restMs;
}

function serve(connection: net.Socket): void {
  let input = '';
  connection.on('error', () => {});
  connection.on('data', async (chunk) => {
    input += chunk.toString('utf8');
    if (input.length > lineBytesMax) return connection.destroy();
    const newline = input.indexOf('\n');
    if (newline < 0) return;
    const line = input.slice(0, newline);
    input = input.slice(newline + 1);
    lastUsedMs = monotonicNowMs();
    try {
      const lease = await leases.read(String(JSON.parse(line).check));
      connection.write(`${JSON.stringify({ armed: lease !== undefined })}\n`);
      wake();
    } catch {
      connection.destroy();
    }
  });
}

async function anotherOneServes(socketPath: string): Promise<boolean> {
  const socket = await JsonLineSocket.connect(socketPath, 1).catch(() => undefined);
  socket?.close();
  return socket !== undefined;
}

async function listen(folderFd: number): Promise<net.Server> {
  rmSync(join(folder, 'watchdog.sock'), { force: true });
  const server = net.createServer(serve);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    // Through the open folder, because the address of a Unix socket holds 107 bytes only.
    server.listen(`/proc/self/fd/${folderFd}/watchdog.sock`, resolve);
  });
  return server;
}

async function main(): Promise<void> {
  if (await anotherOneServes(join(folder, 'watchdog.sock'))) return;
  const folderFd = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  do {
    const server = await listen(folderFd);
    while (monotonicNowMs() - lastUsedMs < idleMs) {
      const restMs = await tick();
      await new Promise<void>((resolve) => {
        wake = resolve;
        setTimeout(resolve, restMs);
      });
    }
    // The name goes first; then one more look, for a lease that was confirmed at the last moment.
    server.close();
    await tick();
  } while (monotonicNowMs() - lastUsedMs < idleMs);
  closeSync(folderFd);
}

// A terminal that closes or a service that is stopped must not take the watchdog along.
for (const signal of ['SIGHUP', 'SIGINT', 'SIGTERM'] as const) process.on(signal, () => {});
await main();
process.exit(0);

import { randomUUID } from 'node:crypto';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { aborted, unavailable } from '../../../../sdk/errors.ts';
import { JsonLineSocket } from '../channels/json-lines.ts';
import { spawnDetached } from '../host/process.ts';
import { hostBootId, type LeaseFile, LeaseFiles, monotonicNowMs } from './lease-files.ts';

/** A watchdog is a small Node process: on a busy host it takes a second to answer. */
const armDeadlineMs = 10_000;
const askDeadlineMs = 1000;
const connectDeadlineMs = 50;
/** Fired leases are kept so that a late release learns of it. */
const firedKeptMax = 64;

export type LeaseRequest = {
  kind: 'hold' | 'freeze';
  computeId: string;
  runFolder: string;
  uuid: string;
  durationMs: number;
  resume: boolean;
  thaw: boolean;
};

/** Takes and ends leases; makes sure that a watchdog knows each before it is relied on. */
export class Leases {
  readonly files: LeaseFiles;
  constructor(folder: string) {
    this.files = new LeaseFiles(folder);
  }

  /**
   * Takes a lease that the watchdog confirmed: from now on the deadline is kept whatever dies.
   * UNAVAILABLE reason WATCHDOG_MISSING when no watchdog could be started.
   */
  async take(request: LeaseRequest): Promise<LeaseFile> {
    await this.#forgetOldest();
    const lease: LeaseFile = {
      ...request,
      leaseId: randomUUID(),
      bootId: hostBootId(),
      deadlineMonotonicMs: monotonicNowMs() + request.durationMs,
      startTimeMs: Date.now(),
    };
    await this.files.write(lease);
    try {
      await this.#arm(lease.leaseId);
    } catch (error) {
      await this.files.release(lease.leaseId);
      throw error;
    }
    return lease;
  }

  /** The lease of a kind that is in force on a compute resource. */
  async find(computeId: string, kind: 'hold' | 'freeze'): Promise<LeaseFile | undefined> {
    const { inForce } = await this.files.list();
    return inForce.find((lease) => lease.computeId === computeId && lease.kind === kind);
  }

  /** ABORTED reason LEASE_EXPIRED when this lease is not in force any more. */
  async assertInForce(leaseId: string): Promise<LeaseFile> {
    const lease = await this.files.read(leaseId);
    if (!lease || monotonicNowMs() >= lease.deadlineMonotonicMs) throw leaseExpired(leaseId);
    return lease;
  }

  /**
   * Ends a lease after its effect was undone. ABORTED reason LEASE_EXPIRED when the watchdog was
   * first.
   */
  async end(leaseId: string): Promise<void> {
    if (!(await this.files.release(leaseId))) throw leaseExpired(leaseId);
  }

  /** Ends the leases of a machine that is gone: nothing is held any more. */
  async releaseAllOf(uuid: string): Promise<void> {
    const { inForce } = await this.files.list();
    for (const lease of inForce) if (lease.uuid === uuid) await this.files.release(lease.leaseId);
  }

  /** Starts a watchdog when one was killed while leases are in force. To be called now and then. */
  async checkKept(): Promise<void> {
    const { inForce } = await this.files.list();
    if (inForce[0] && !(await this.#ask(inForce[0].leaseId))) await this.#startWatchdog();
  }

  async #arm(leaseId: string): Promise<void> {
    const end = performance.now() + armDeadlineMs;
    let started = false;
    for (;;) {
      if (await this.#ask(leaseId)) return;
      if (performance.now() > end) {
        const text = `no watchdog answered within ${armDeadlineMs} ms; see ${this.files.folder}/watchdog.log`;
        throw unavailable('WATCHDOG_MISSING', text);
      }
      if (!started) await this.#startWatchdog();
      started = true;
    }
  }

  async #ask(leaseId: string): Promise<boolean> {
    const path = join(this.files.folder, 'watchdog.sock');
    const socket = await JsonLineSocket.connect(path, connectDeadlineMs).catch(() => undefined);
    if (!socket) return false;
    try {
      return await new Promise<boolean>((resolve) => {
        const timer = setTimeout(() => resolve(false), askDeadlineMs);
        socket.onEnd = () => {
          clearTimeout(timer);
          resolve(false);
        };
        socket.onMessage = (message) => {
          clearTimeout(timer);
          resolve((message as { armed?: boolean }).armed === true);
        };
        socket.send({ check: leaseId });
      });
    } finally {
      socket.close();
    }
  }

  async #startWatchdog(): Promise<void> {
    const program = fileURLToPath(import.meta.url);
    const watchdog = new URL(`./watchdog${extname(program)}`, import.meta.url);
    await spawnDetached(process.execPath, [fileURLToPath(watchdog), this.files.folder], {
      cwd: this.files.folder,
      logFile: join(this.files.folder, 'watchdog.log'),
    });
  }

  async #forgetOldest(): Promise<void> {
    const { fired } = await this.files.list();
    const done = fired
      .filter((lease) => lease.outcome !== undefined)
      .sort((one, other) => one.startTimeMs - other.startTimeMs);
    for (const lease of done.slice(0, Math.max(0, done.length - firedKeptMax))) {
      await this.files.forget(lease.leaseId);
    }
  }
}

export const leaseExpired = (leaseId: string) =>
  aborted(
    'LEASE_EXPIRED',
    `lease ${leaseId} is not in force: its deadline passed or it was ended`,
    {
      lease_id: leaseId,
    },
  );

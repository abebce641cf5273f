import { readFileSync } from 'node:fs';
import { open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * A hold or freeze with a deadline, as a file. Driver and watchdog settle who ends it by renaming
 * the file: `ID.json` (in force) → `ID.fired` (the watchdog's) or gone (released). Only one of two
 * renames succeeds.
 */
export type LeaseFile = {
  leaseId: string;
  kind: 'hold' | 'freeze';
  computeId: string;
  /** The folder with the sockets of the machine, and what it must answer to query-uuid. */
  runFolder: string;
  uuid: string;
  /** The monotonic clock of the host, in milliseconds: wall clocks jump. */
  deadlineMonotonicMs: number;
  /** Monotonic clocks start again with the host. */
  bootId: string;
  /** When the deadline is over: let the machine run on; thaw its file systems. */
  resume: boolean;
  thaw: boolean;
  startTimeMs: number;
  durationMs: number;
};

/** What the watchdog adds when it has acted. */
export type FiredLease = LeaseFile & { outcome?: string };

const idPattern = /^[0-9a-f-]{36}$/;

/** The monotonic clock of the host, the same in all its processes. */
export const monotonicNowMs = (): number => Number(process.hrtime.bigint() / 1_000_000n);

export const hostBootId = (): string =>
  readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();

/** Files of leases in one folder. */
export class LeaseFiles {
  readonly folder: string;
  constructor(folder: string) {
    this.folder = folder;
  }

  /** Puts a lease in force; it is whole or not there. */
  async write(lease: LeaseFile): Promise<void> {
    await this.#writeWhole(this.#path(lease.leaseId, 'json'), lease);
  }

  /** The lease in force, or undefined. */
  read(leaseId: string): Promise<LeaseFile | undefined> {
    return this.#read(leaseId, 'json');
  }

  /** The lease when the watchdog was first. */
  readFired(leaseId: string): Promise<FiredLease | undefined> {
    return this.#read(leaseId, 'fired');
  }

  /** Ends a lease; false when it is not in force any more (the watchdog was first). */
  async release(leaseId: string): Promise<boolean> {
    if (!idPattern.test(leaseId)) return false;
    const released = this.#path(leaseId, 'released');
    if (!(await renameIfThere(this.#path(leaseId, 'json'), released))) return false;
    await rm(released, { force: true });
    return true;
  }

  /** The watchdog's half of `release`. */
  claim(leaseId: string): Promise<boolean> {
    return renameIfThere(this.#path(leaseId, 'json'), this.#path(leaseId, 'fired'));
  }

  /** Notes what the watchdog did. */
  async writeOutcome(lease: LeaseFile, outcome: string): Promise<void> {
    await this.#writeWhole(this.#path(lease.leaseId, 'fired'), { ...lease, outcome });
  }

  forget(leaseId: string): Promise<void> {
    return rm(this.#path(leaseId, 'fired'), { force: true });
  }

  /** All leases in force, and all that fired. */
  async list(): Promise<{ inForce: LeaseFile[]; fired: FiredLease[] }> {
    const inForce: LeaseFile[] = [];
    const fired: FiredLease[] = [];
    for (const name of await readdir(this.folder)) {
      const [id, suffix] = name.split('.');
      if (suffix !== 'json' && suffix !== 'fired') continue;
      const lease = await this.#read(id!, suffix);
      if (lease) (suffix === 'json' ? inForce : fired).push(lease);
    }
    return { inForce, fired };
  }

  #path(leaseId: string, suffix: string): string {
    return join(this.folder, `${leaseId}.${suffix}`);
  }

  async #read(leaseId: string, suffix: string): Promise<FiredLease | undefined> {
    if (!idPattern.test(leaseId)) return undefined;
    const text = await readFile(this.#path(leaseId, suffix), 'utf8').catch((error) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    });
    return text === undefined ? undefined : JSON.parse(text);
  }

  async #writeWhole(path: string, lease: FiredLease): Promise<void> {
    const temporary = `${path}.${process.pid}.tmp`;
    await writeFile(temporary, JSON.stringify(lease), { mode: 0o600 });
    const file = await open(temporary, 'r');
    await file.sync().finally(() => file.close());
    await rename(temporary, path);
  }
}

async function renameIfThere(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

/** Who holds a lease, and whether that process still runs. */
import { readFile, readlink } from 'node:fs/promises';
import { hostname } from 'node:os';

/**
 * A pid alone is no identity: numbers return, and mean different processes in different containers
 * and boots. Where the system tells neither boot nor namespace the texts are empty, and only the
 * lease's term counts.
 */
export type ProcessIdentity = {
  host: string;
  bootId: string;
  pidNamespace: string;
  pid: number;
  /** Start of the process in ticks since the boot, as text; empty when unknown. */
  startTicks: string;
};

/** The identity of this process. */
export async function ownIdentity(): Promise<ProcessIdentity> {
  const stat = await processStat(process.pid);
  return {
    host: hostname(),
    bootId: await orEmpty(async () =>
      (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim(),
    ),
    pidNamespace: await orEmpty(() => readlink('/proc/self/ns/pid')),
    pid: process.pid,
    startTicks: stat?.startTicks ?? '',
  };
}

/** True only when it is certain that `holder` has ended; `own` is who asks. */
export async function isGone(holder: ProcessIdentity, own: ProcessIdentity): Promise<boolean> {
  const comparable = own.bootId !== '' && own.pidNamespace !== '' && holder.startTicks !== '';
  if (!comparable || holder.host !== own.host) return false;
  if (holder.bootId !== own.bootId || holder.pidNamespace !== own.pidNamespace) return false;
  const stat = await processStat(holder.pid);
  return stat === undefined || stat.ended || stat.startTicks !== holder.startTicks;
}

async function processStat(
  pid: number,
): Promise<{ startTicks: string; ended: boolean } | undefined> {
  const text = await orEmpty(() => readFile(`/proc/${pid}/stat`, 'utf8'));
  // The second field is the program's name in parentheses and may contain anything, also
  // parentheses.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const startTicks = fields[19];
  if (startTicks === undefined) return undefined;
  return { startTicks, ended: fields[0] === 'Z' || fields[0] === 'X' };
}

async function orEmpty(work: () => Promise<string>): Promise<string> {
  try {
    return await work();
  } catch {
    // Not Linux, or the process has just ended: both are "unknown" here.
    return '';
  }
}

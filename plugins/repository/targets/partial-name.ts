import { createHash } from 'node:crypto';
import { hostname } from 'node:os';

/**
 * The name of a file that is being written: hidden, with the machine and the process that write it,
 * and a tag: what it is becoming, so that another process can go on with it, or a random one.
 */
const pattern = /^\.(.*)\.([A-Za-z0-9_.-]+)@(\d+)-([0-9a-f]{12})\.partial$/;
const machine = hostname().replace(/[^A-Za-z0-9_-]/g, '_') || 'host';

export type PartialName = { wanted: string; pid: number; tag: string };

/** The name under which this process writes the file that is to be called `wanted`. */
export function formatPartialName(wanted: string, tag: string): string {
  return `.${wanted}.${machine}@${process.pid}-${tag}.partial`;
}

/** What such a name says; undefined for other names and for those of other machines. */
export function parsePartialName(name: string): PartialName | undefined {
  const [, wanted, host, pid, tag] = pattern.exec(name) ?? [];
  if (wanted === undefined || host !== machine) return undefined;
  return { wanted, pid: Number(pid), tag: tag! };
}

/** The tag of a file with this content: equal for equal texts. */
export function tagOf(...content: string[]): string {
  return createHash('sha256').update(JSON.stringify(content)).digest('hex').slice(0, 12);
}

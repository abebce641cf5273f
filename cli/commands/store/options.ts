/** What the commands on a repository of one's own have in common. */
import { resolve } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { UnpackFormat } from '../../../app/store/unpack.ts';
import { formatBytes } from '../../output.ts';
import { ProgressLine } from '../../progress.ts';

export type StoreOptions = { store: string; json?: boolean };

/** The same formats as in app/store/unpack.ts, which is loaded when used. */
const formats: readonly UnpackFormat[] = ['raw', 'qcow2', 'raw.lz4'];

export function format(description: string): Option {
  return new Option('--format <format>', description).choices(formats);
}

/** As in wasm/host/core-pool.ts, which is loaded when used. */
const workersMax = 16;

export function workersOption(): Option {
  const text = `worker threads, 0 to ${workersMax}; default one a processor, at most 4`;
  return new Option('--workers <count>', text).argParser((value) => {
    const workers = count(value);
    if (workers <= workersMax) return workers;
    throw new InvalidArgumentError(`must be at most ${workersMax}`);
  });
}

export function onStore(command: Command): Command {
  return command
    .requiredOption('--store <dir>', 'folder of the repository')
    .option('--json', 'print one line of JSON at the end');
}

/** Shows progress on a terminal while `work` runs. */
export async function withLine<T>(
  work: (
    show: (p: { image?: string; file?: string; doneBytes: number; totalBytes: number }) => void,
  ) => Promise<T>,
): Promise<T> {
  const line = new ProgressLine();
  try {
    return await work(({ image, file, doneBytes, totalBytes }) =>
      line.show({ activity: image ?? file ?? '', doneBytes, totalBytes }),
    );
  } finally {
    line.clear();
  }
}

/** An interrupt ends the work in order; a second one ends the process. */
export function interrupts(): AbortSignal {
  const controller = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => controller.abort());
  }
  return controller.signal;
}

export type ResumeOptions = { resume: boolean };

export function resumable(command: Command): Command {
  return onStore(command).option(
    '--no-resume',
    'neither go on where an interrupted one was nor leave anything for a repetition',
  );
}

/** What an interrupted run had done, for people. `totalBytes` is of all images. */
export function printResumed(
  { resumedBytes, restartReason }: { resumedBytes: number; restartReason?: string },
  totalBytes: number | undefined,
): void {
  if (restartReason !== undefined) process.stdout.write(`started anew: ${restartReason}\n`);
  if (resumedBytes === 0) return;
  const share = totalBytes ? ` (${Math.floor((resumedBytes * 100) / totalBytes)} %)` : '';
  process.stdout.write(`resumed at ${formatBytes(resumedBytes)}${share}\n`);
}

export const sumOf = (images: readonly { logicalBytes: number }[]) =>
  images.reduce((sum, { logicalBytes }) => sum + logicalBytes, 0);

export function isUri(text: string): boolean {
  return /^nbd(\+unix)?:\/\//.test(text);
}

/** A file by its whole path, an NBD export as it is. */
export function place(text: string): string {
  return isUri(text) ? text : resolve(text);
}

export function count(text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new InvalidArgumentError('must be a whole number from 0');
}

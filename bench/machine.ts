import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { promisify } from 'node:util';
import { scalingOfTwoThreads } from './scaling.ts';
import type { Machine } from './types.ts';

const run = promisify(execFile);

export async function describeMachine(): Promise<Machine> {
  const about = await readFile('/etc/os-release', 'utf8').catch(() => '');
  return {
    processor: cpus()[0]?.model ?? 'unknown',
    processors: cpus().length,
    memoryBytes: totalmem(),
    kernel: release(),
    system: /^PRETTY_NAME="?([^"\n]*)/m.exec(about)?.[1] ?? process.platform,
    node: process.version,
    loadAverage: loadavg()[0]!,
    scalingOfTwoThreads: await scalingOfTwoThreads(),
  };
}

/** The commit of the project, marked when files differ from it; "unknown" outside of a clone. */
export async function commitOf(folder: string): Promise<string> {
  try {
    const { stdout } = await run('git', ['-C', folder, 'rev-parse', '--short=12', 'HEAD']);
    const { stdout: status } = await run('git', ['-C', folder, 'status', '--porcelain', '-uno']);
    return `${stdout.trim()}${status.trim() === '' ? '' : ' with changes'}`;
  } catch {
    return 'unknown';
  }
}

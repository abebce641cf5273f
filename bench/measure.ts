/** Runs a script and says what it took: GNU time reads it from the kernel for the whole process tree. */
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Code, RpcError } from '../sdk/errors.ts';
import type { Figures, Place } from './types.ts';

export const timeTool = '/usr/bin/time';
/** A peer that takes longer hangs. */
const scriptDeadlineMs = 20 * 60 * 1000;
/** Of what a script prints, the end that is kept for the error message, in characters. */
const outputCharactersMax = 2000;

/** Runs a `sh` script to its end. BENCH_SCRIPT_FAILED with what it printed last. */
export async function runScript(
  script: string,
  place: Place,
  signal: AbortSignal,
  prefix: readonly string[] = [],
): Promise<void> {
  const [program, ...rest] = [...prefix, 'sh', '-euc', script];
  const child = spawn(program!, rest, {
    cwd: place.folder,
    env: { ...process.env, ...place.variables, W: place.folder },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
    signal: AbortSignal.any([signal, AbortSignal.timeout(scriptDeadlineMs)]),
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8');
    stream.on('data', (text) => {
      output = (output + text).slice(-outputCharactersMax);
    });
  }
  const problem = await new Promise<string | undefined>((resolve) => {
    child.on('error', (error) => {
      // The script's own children too: they are its process group.
      if (child.pid !== undefined) killGroup(child.pid);
      resolve(error.message);
    });
    child.on('close', (code, killedBy) => {
      resolve(code === 0 ? undefined : `ended with ${code ?? killedBy}`);
    });
  });
  signal.throwIfAborted();
  if (problem === undefined) return;
  const text = `${problem}: ${script.trim()}: ${output.trim()}`;
  throw new RpcError(Code.INTERNAL, 'BENCH_SCRIPT_FAILED', text, { script, problem });
}

/** Runs a script and measures it. */
export async function measureScript(
  script: string,
  place: Place,
  signal: AbortSignal,
): Promise<Figures> {
  const folder = await mkdtemp(join(tmpdir(), 'mano-bench-time-'));
  try {
    const path = join(folder, 'figures');
    const from = performance.now();
    await runScript(script, place, signal, [timeTool, '-o', path, '-f', '%U %S %M']);
    const wallSeconds = (performance.now() - from) / 1000;
    return { wallSeconds, ...parseTime(await readFile(path, 'utf8')) };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** "user seconds, system seconds, kilobytes of the largest process", on the last line. */
export function parseTime(text: string): Pick<Figures, 'cpuSeconds' | 'peakBytes'> {
  const [user, system, kilobytes] = text.trim().split('\n').at(-1)!.split(' ').map(Number);
  if (![user, system, kilobytes].every(Number.isFinite)) {
    throw new TypeError(`not the output of ${timeTool}: ${text}`);
  }
  return { cpuSeconds: user! + system!, peakBytes: kilobytes! * 1024 };
}

function killGroup(leader: number): void {
  try {
    process.kill(-leader, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

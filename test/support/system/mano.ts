import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const program = join(import.meta.dirname, '../../../cli/main.ts');
const runMsMax = 60_000;

/**
 * What a run of `mano` said, and how it ended. `json`: its last line of output, where it is JSON.
 */
export type Run = { code: number | null; stdout: string; stderr: string; json: Json };
type Json = { error?: { reason: string; message: string; violations: Violation[] } };
type Violation = { field: string; description: string };

/** Starts `mano` as its user does. */
export function startMano(...parameters: string[]) {
  return spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', program, ...parameters],
    { stdio: ['ignore', 'pipe', 'pipe'], timeout: runMsMax },
  );
}

/** Runs it to its end. */
export async function mano(...parameters: string[]): Promise<Run> {
  const child = startMano(...parameters);
  const texts = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      texts[name] += text;
    });
  }
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { code, ...texts, json: lastJson(texts.stdout) };
}

function lastJson(stdout: string): Json {
  const line = stdout.trim().split('\n').at(-1) ?? '';
  try {
    return JSON.parse(line);
  } catch {
    return {};
  }
}

/** Starts `mano serve` on a free TCP port of this machine. `stop` drains it. */
export async function serveOverTcp(folder: string) {
  const options = ['serve', '--data', folder, '--listen', '127.0.0.1:0'];
  const child = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', program, ...options],
    { stdio: ['ignore', 'pipe', 'ignore'], timeout: runMsMax },
  );
  const exited = once(child, 'exit');
  const stop = async () => {
    child.kill();
    await exited;
  };
  let address = '';
  for await (const line of createInterface({ input: child.stdout })) {
    address = /^listening on (\S+)/.exec(line)?.[1] ?? address;
    if (line === 'ready') break;
  }
  return { address, stop };
}

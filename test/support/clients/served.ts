import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { ExecutionContext } from 'ava';
import { projectFolder } from './documents.ts';

const program = join(projectFolder, 'cli/main.ts');
/** What Node is given to run `mano`. */
export const nodeArguments = ['--disable-warning=ExperimentalWarning', program];
/** How long a server may take to start, a command to end, in milliseconds. */
const startMsMax = 120_000;
export const commandMsMax = 240_000;

export type ServeOptions = { more?: readonly string[]; environment?: NodeJS.ProcessEnv };

/** Starts `mano serve` over a folder until the test ends; returns its TCP address. */
export async function serve(
  t: ExecutionContext,
  folder: string,
  { more = [], environment = {} }: ServeOptions = {},
): Promise<string> {
  const listen = ['serve', '--data', folder, '--listen', '127.0.0.1:0', ...more];
  const child = spawn(process.execPath, [...nodeArguments, ...listen], {
    stdio: ['ignore', 'pipe', 'ignore'],
    cwd: projectFolder,
    env: { ...process.env, ...environment },
  });
  t.teardown(async () => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), startMsMax);
  let address = '';
  for await (const line of createInterface({ input: child.stdout! })) {
    address = /^listening on (\S+)/.exec(line)?.[1] ?? address;
    if (line !== 'ready') continue;
    clearTimeout(timer);
    child.stdout!.resume();
    return address;
  }
  throw new Error('mano serve did not start');
}

export type Ended = { code: number; stdout: string; stderr: string };

/** Runs a program in the project's folder to its end. */
export function run(
  command: string,
  parameters: readonly string[],
  environment: NodeJS.ProcessEnv = {},
): Promise<Ended> {
  const options = {
    cwd: projectFolder,
    env: { ...process.env, ...environment },
    timeout: commandMsMax,
    maxBuffer: 16 * 1024 * 1024,
  };
  return new Promise((resolve) => {
    execFile(command, parameters, options, (error, stdout, stderr) => {
      const code = error ? (typeof error.code === 'number' ? error.code : -1) : 0;
      resolve({ code, stdout, stderr: error && code < 0 ? `${stderr}${error.message}` : stderr });
    });
  });
}

/** Runs the `mano` command. */
export function mano(...parameters: string[]): Promise<Ended> {
  return run(process.execPath, [...nodeArguments, ...parameters]);
}

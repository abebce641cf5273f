import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { eventually } from '../eventually.ts';

const project = join(import.meta.dirname, '../../..');
const readyMs = 60_000;

export type ServedDisk = {
  /** Of the first export. */
  uri: string;
  // biome-ignore lint/suspicious/noExplicitAny: the shape is what the tests assert
  ready: any;
  child: ChildProcess;
  stderr(): string;
  /** Sends the signal and gives the exit code. */
  end(signal?: NodeJS.Signals): Promise<number | null>;
};

/** Runs `mano serve-disk … --json` until the test ends; resolves when it is ready. */
export async function serveDisk(
  t: ExecutionContext,
  folder: string,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<ServedDisk> {
  const words = ['--disable-warning=ExperimentalWarning', join(project, 'cli/main.ts')];
  const child = spawn(process.execPath, [...words, 'serve-disk', ...args, '--json'], {
    cwd: folder,
    env: { ...process.env, NODE_COMPILE_CACHE: join(project, 'build/compile-cache'), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (bytes) => {
    stdout += bytes;
  });
  child.stderr.on('data', (bytes) => {
    stderr += bytes;
  });
  const closed = new Promise<number | null>((resolve) => child.once('close', resolve));
  const end = async (signal: NodeJS.Signals = 'SIGTERM') => {
    child.kill(signal);
    return await closed;
  };
  t.teardown(() => end());
  await eventually(
    'the server is ready',
    () => {
      if (child.exitCode !== null) throw new Error(`serve-disk ended: ${stderr}`);
      return stdout.endsWith('\n');
    },
    readyMs,
  );
  const ready = JSON.parse(stdout);
  return { uri: ready.uri, ready, child, stderr: () => stderr, end };
}

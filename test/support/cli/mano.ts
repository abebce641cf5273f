import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';

const project = join(import.meta.dirname, '../../..');
/** As in the launcher; without it every start compiles everything anew. */
const compileCache = join(project, 'build/compile-cache');
const direct = ['--disable-warning=ExperimentalWarning', join(project, 'cli/main.ts')];
/** Programs that one test file runs at a time: each takes a processor and up to 200 MiB. */
const atOnceMax = 2;
/** A command that takes longer hangs, unless it says otherwise. */
const deadlineDefaultMs = 120_000;
/** How often the peak memory is read. It only grows, so the last reading is nearly the peak. */
const memoryPollMs = 5;

export type ManoResult = {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
  peakMib: number;
  /** The last line of standard output, parsed; an error of the test if it is not JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: the shape is what the tests assert
  json(): any;
};

export type ManoOptions = {
  env?: Record<string, string>;
  /** Through the launcher that users call, instead of Node alone. */
  launcher?: boolean;
  /** For commands that take minutes. */
  deadlineMs?: number;
  /** Called with the process as soon as it runs. */
  onStart?(child: ChildProcess): void;
};

// Not by `t.teardown`, which hooks do not have.
const children = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});

let running = 0;
const waiting: (() => void)[] = [];

/** Runs `mano` with these arguments in `folder` to its end. */
export async function mano(
  folder: string,
  args: readonly string[],
  options: ManoOptions = {},
): Promise<ManoResult> {
  if (running >= atOnceMax) await new Promise<void>((resolve) => waiting.push(resolve));
  running += 1;
  try {
    return await runMano(folder, args, options);
  } finally {
    running -= 1;
    waiting.shift()?.();
  }
}

/** The same, and asserts that it succeeds. */
export async function manoOk(
  t: ExecutionContext,
  folder: string,
  args: readonly string[],
  options: ManoOptions = {},
): Promise<ManoResult> {
  const result = await mano(folder, args, options);
  t.is(result.code, 0, `mano ${args.join(' ')}: ${result.stderr}`);
  return result;
}

/**
 * Runs `mano … --json` and asserts how it fails: the exit code, the reason, and a text both for people on standard
 * error and in the one line of JSON on standard output.
 */
export async function manoFails(
  t: ExecutionContext,
  folder: string,
  args: readonly string[],
  expected: { code: number; reason: string; text: RegExp },
  options: ManoOptions = {},
): Promise<ManoResult> {
  const result = await mano(folder, [...args, '--json'], options);
  const { code, stdout, stderr } = result;
  t.is(code, expected.code, `mano ${args.join(' ')}: ${stderr}`);
  t.is(stdout.trimEnd().split('\n').length, 1, `one line: ${stdout}`);
  const { error } = result.json();
  t.is(error.reason, expected.reason);
  t.regex(error.message, expected.text);
  t.true(stderr.includes(error.message), stderr);
  return result;
}

async function runMano(
  folder: string,
  args: readonly string[],
  { env, launcher = false, deadlineMs = deadlineDefaultMs, onStart }: ManoOptions,
): Promise<ManoResult> {
  const [command, words] = launcher ? [join(project, 'mano'), []] : [process.execPath, direct];
  const child = spawn(command, [...words, ...args], {
    cwd: folder,
    env: { ...process.env, NODE_COMPILE_CACHE: compileCache, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: deadlineMs,
    killSignal: 'SIGKILL',
  });
  children.add(child);
  child.once('close', () => children.delete(child));
  const peak = watchPeak(child.pid!);
  const output = [collect(child.stdout), collect(child.stderr)] as const;
  onStart?.(child);
  const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>(
    (resolve, reject) => {
      child.once('error', reject);
      child.once('close', (exitCode, exitSignal) => resolve([exitCode, exitSignal]));
    },
  );
  const [stdout, stderr] = output.map((chunks) => Buffer.concat(chunks).toString()) as [
    string,
    string,
  ];
  const json = () => JSON.parse(stdout.trimEnd().split('\n').at(-1)!);
  return { code, signal, stdout, stderr, peakMib: peak(), json };
}

function collect(stream: NodeJS.ReadableStream): Buffer[] {
  const chunks: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  return chunks;
}

/** Reads the peak memory of a process from the kernel until it is gone. */
function watchPeak(pid: number): () => number {
  let peakKib = 0;
  const timer = setInterval(() => {
    try {
      const status = readFileSync(`/proc/${pid}/status`, 'utf8');
      const found = /^VmHWM:\s*(\d+) kB/m.exec(status)?.[1];
      // A process that has ended but was not waited for yet has no memory.
      if (found !== undefined) peakKib = Math.max(peakKib, Number(found));
    } catch {
      clearInterval(timer);
    }
  }, memoryPollMs);
  return () => {
    clearInterval(timer);
    return peakKib / 1024;
  };
}

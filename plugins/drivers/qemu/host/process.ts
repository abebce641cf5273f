import { execFile, type SpawnOptions, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { internal, type RpcError, unavailable } from '../../../../sdk/errors.ts';

/** A process that a number alone does not name: numbers come back after a process ended. */
export type ProcessIdentity = {
  pid: number;
  /**
   * Field 22 of /proc/PID/stat: clock ticks between the boot of the host and the start of the
   * process.
   */
  startTicks: number;
  /** Names the boot of the host: ticks start again with each. */
  bootId: string;
};

const pollMs = 10;
/** After SIGKILL a process only lingers while the kernel writes its pages back. */
const killDeadlineMs = 10_000;
const toolOutputBytesMax = 64 * 1024 * 1024;

const bootId = (): string => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();

/**
 * The identity of a running process; undefined when there is none with that number (or it is a
 * zombie).
 */
export function identify(pid: number): ProcessIdentity | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return undefined;
  }
  // The name in parentheses may hold anything, also spaces and parentheses: count from the last
  // one.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
  return { pid, startTicks: Number(fields[19]), bootId: bootId() };
}

/** Whether exactly this process still runs. */
export function isAlive(identity: ProcessIdentity): boolean {
  const found = identify(identity.pid);
  return found?.startTicks === identity.startTicks && found.bootId === identity.bootId;
}

/** The command line of a process, or an empty list. */
export async function commandLine(pid: number): Promise<string[]> {
  const text = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  return text.split('\0').filter((part) => part !== '');
}

/** Ends exactly this process and waits until it is gone. A process that is gone already is fine. */
export async function killProcess(identity: ProcessIdentity): Promise<void> {
  if (!isAlive(identity)) return;
  try {
    process.kill(identity.pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
  if (!(await waitForExit(identity, killDeadlineMs))) {
    throw internal(
      'PROCESS_STUCK',
      `process ${identity.pid} did not end within ${killDeadlineMs} ms`,
    );
  }
}

/** Waits for the end of a process; false when it still runs after `deadlineMs`. */
export async function waitForExit(identity: ProcessIdentity, deadlineMs: number): Promise<boolean> {
  const end = performance.now() + deadlineMs;
  while (isAlive(identity)) {
    if (performance.now() > end) return false;
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
  return true;
}

/**
 * Starts a program that outlives this process: a session of its own, output to a file, no inherited
 * pipe. Throws UNAVAILABLE reason TOOL_MISSING when the program cannot be started.
 */
export async function spawnDetached(
  program: string,
  args: string[],
  options: { cwd: string; logFile: string },
): Promise<ProcessIdentity> {
  const log = openSync(options.logFile, 'a', 0o600);
  const settings: SpawnOptions = {
    cwd: options.cwd,
    detached: true,
    stdio: ['ignore', log, log],
  };
  try {
    const child = spawn(program, args, settings);
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', (error) => reject(toolMissing(program, error)));
    });
    child.unref();
    // A program that ended within microseconds has no identity any more; number -1 is never alive.
    return identify(child.pid!) ?? { pid: child.pid!, startTicks: -1, bootId: bootId() };
  } finally {
    closeSync(log);
  }
}

/** A tool ended with an error. */
export class ToolError extends Error {
  readonly program: string;
  readonly stderr: string;
  constructor(program: string, args: string[], code: unknown, stderr: string) {
    super(`${program} ${args.join(' ')}: ended with ${code}: ${stderr.trim().slice(-500)}`);
    this.name = 'ToolError';
    this.program = program;
    this.stderr = stderr;
  }
}

/**
 * Runs a tool to its end and returns its standard output. ToolError when it fails or takes too
 * long.
 */
export function runTool(program: string, args: string[], deadlineMs: number): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(
      program,
      args,
      { timeout: deadlineMs, killSignal: 'SIGKILL', maxBuffer: toolOutputBytesMax },
      (error, stdout, stderr) => {
        if (!error) resolve(stdout);
        else if (error.code === 'ENOENT') reject(toolMissing(program, error));
        else {
          const outcome = error.killed ? `no answer within ${deadlineMs} ms` : error.code;
          reject(new ToolError(program, args, outcome, stderr));
        }
      },
    );
  });
}

function toolMissing(program: string, error: Error): RpcError {
  const text = `cannot start ${program}: ${error.message}; install it with ./mano setup --system`;
  return unavailable('TOOL_MISSING', text, { program });
}

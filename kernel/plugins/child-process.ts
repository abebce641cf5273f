import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { rm } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { unavailable } from '../../sdk/errors.ts';
import type { Logger } from '../../sdk/ports/logger.ts';
import { openChannel } from '../../sdk/transport/grpc-channel.ts';
import type { Connection, Connector } from './connector.ts';
import { parseHandshakeLine } from './negotiation.ts';

export type ChildOptions = {
  instanceId: string;
  /** The program and its arguments. */
  command: readonly string[];
  /** Added to the environment of the kernel. */
  environment: Readonly<Record<string, string>>;
  /** A new path for every start: a process that lingers keeps its own socket. */
  nextSocketPath: () => string;
  startMs: number;
  logger: Logger;
};

/** A longer line is cut into several: a child cannot fill the kernel's memory with one. */
const lineCharactersMax = 16 * 1024;

type Child = ChildProcessWithoutNullStreams;

/**
 * Starts a plugin as a child process. Its standard input stays open as long as the kernel lives: a
 * child that reads the end of it knows that the kernel is gone, so that no orphan stays.
 */
export function childProcess(options: ChildOptions): Connector {
  return { ownsProcess: true, connect: (signal) => startChild(options, signal) };
}

async function startChild(options: ChildOptions, signal: AbortSignal): Promise<Connection> {
  const [program = '', ...parameters] = options.command;
  const socket = options.nextSocketPath();
  const child = spawn(program, parameters, {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...options.environment, NFV_PLUGIN_SOCKET: socket },
  });
  child.stdin.on('error', () => {}); // The child closed it; its end is seen as `exit`.
  const ended = endOf(child, program);
  const close = (graceMs: number) => endChild(child, ended, graceMs, socket);
  try {
    const line = await firstLine(child, ended, options, signal);
    const address = parseHandshakeLine(options.instanceId, line);
    const channel = openChannel({ address });
    return {
      address,
      channel,
      ended,
      close: async (graceMs) => {
        channel.close();
        await close(graceMs);
      },
    };
  } catch (thrown) {
    await close(0);
    throw thrown;
  }
}

function endOf(child: Child, program: string): Promise<string> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve(`${program} cannot be started: ${error.message}`));
    child.once('exit', (code, signal) =>
      resolve(
        signal ? `the process was ended by ${signal}` : `the process ended with code ${code}`,
      ),
    );
  });
}

/**
 * The first line of standard output is the handshake; what follows, and standard error, goes to the
 * log.
 */
function firstLine(
  child: Child,
  ended: Promise<string>,
  options: ChildOptions,
  signal: AbortSignal,
): Promise<string> {
  onLines(child.stderr, (line) => options.logger.info('plugin stderr', { line }));
  return new Promise((resolve, reject) => {
    const fail = (problem: string) => {
      const text = `the plugin ${options.instanceId} did not start: ${problem}`;
      settle(() => reject(unavailable('PLUGIN_UNAVAILABLE', text, { target: options.instanceId })));
    };
    const onAbort = () => fail('the kernel gave up');
    const timer = setTimeout(() => fail(`no handshake in ${options.startMs} ms`), options.startMs);
    const settle = (end: () => void) => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      end();
    };
    signal.addEventListener('abort', onAbort, { once: true });
    void ended.then(fail);
    let first = true;
    onLines(child.stdout, (line) => {
      if (!first) options.logger.info('plugin stdout', { line });
      else settle(() => resolve(line));
      first = false;
    });
  });
}

async function endChild(
  child: Child,
  ended: Promise<string>,
  graceMs: number,
  socket: string,
): Promise<void> {
  if (child.exitCode === null && child.signalCode === null && child.pid !== undefined) {
    child.stdin.end();
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), graceMs);
    await ended;
    clearTimeout(timer);
  }
  await rm(socket, { force: true });
}

function onLines(stream: Readable, onLine: (line: string) => void): void {
  let rest = '';
  stream.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > lineCharactersMax) {
      lines.push(rest);
      rest = '';
    }
    for (const line of lines) onLine(line.slice(0, lineCharactersMax));
  });
}

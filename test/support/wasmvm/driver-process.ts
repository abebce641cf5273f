import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { DriverService } from '../../../gen/nfv/driver/v1/driver_pb.js';
import { createClient } from '../../../sdk/client.ts';
import { type GrpcChannel, openChannel } from '../../../sdk/transport/grpc-channel.ts';
import type { DriverClient } from './open-driver.ts';

/** How long a driver may take to say that it is ready, in milliseconds. */
const readyMsMax = 60_000;

export type DriverProcess = {
  channel: GrpcChannel;
  client: DriverClient;
  /** Resolves with the signal or the exit code when the process has ended. */
  ended: Promise<string>;
  /** SIGKILL, and waits. */
  kill(): Promise<void>;
  /** SIGTERM, and waits. */
  stop(): Promise<void>;
};

/** Starts a driver, by default wasmvm, in a process of its own, on a socket in its data folder. */
export async function startDriverProcess(
  dataFolder: string,
  options: { program?: string; config?: unknown; environment?: Record<string, string> } = {},
): Promise<DriverProcess> {
  const socket = join(dataFolder, 'driver.sock');
  // A killed driver leaves its socket behind.
  await rm(socket, { force: true });
  const entry = options.program ?? new URL('./serve.ts', import.meta.url).pathname;
  const config = JSON.stringify(options.config ?? {});
  const child = spawn(process.execPath, [entry, socket, dataFolder, config], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...options.environment },
  });
  const ended = once(child, 'exit').then(([code, signal]) => String(signal ?? code));
  await ready(child, ended);
  const channel = openChannel({ address: `unix:${socket}` });
  const end = async (signal: NodeJS.Signals) => {
    channel.close();
    child.kill(signal);
    await ended;
  };
  return {
    channel,
    client: createClient(DriverService, channel, { deadlineMs: 60_000 }),
    ended,
    kill: () => end('SIGKILL'),
    stop: () => end('SIGTERM'),
  };
}

async function ready(child: ChildProcess, ended: Promise<string>): Promise<void> {
  const timer = setTimeout(() => child.kill('SIGKILL'), readyMsMax);
  try {
    const first = createInterface({ input: child.stdout! })[Symbol.asyncIterator]().next();
    const line = await Promise.race([first, ended.then((how) => ({ value: `ended: ${how}` }))]);
    if (line.value !== 'ready') throw new Error(`the driver did not start: ${line.value}`);
  } finally {
    clearTimeout(timer);
  }
}

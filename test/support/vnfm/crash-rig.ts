/**
 * A VNFM in a process that can be killed at a failpoint, with surroundings in this process that
 * outlive it.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as grpc from '@grpc/grpc-js';
import type { ExecutionContext } from 'ava';
import { methodPath } from '../../../sdk/services.ts';
import { openChannel } from '../../../sdk/transport/grpc-channel.ts';
import { ByteServer } from '../../../sdk/transport/grpc-server.ts';
import { tempFolder } from '../temp-folder.ts';
import { type Clients, clientsOf, type Surroundings, serving, surroundings } from './rig.ts';

let sockets = 0;
const program = fileURLToPath(new URL('./vnfm-process.ts', import.meta.url));

export type CrashRig = Surroundings & {
  folder: string;
  /** Starts the process; `failpoints` as in NFV_FAILPOINTS. */
  start(failpoints?: string): Promise<RunningVnfm>;
};

export type RunningVnfm = Clients & {
  /** Resolves when the process is gone, with the signal that ended it. */
  ended: Promise<string>;
  stop(): Promise<void>;
};

export async function crashRig(t: ExecutionContext): Promise<CrashRig> {
  const folder = await tempFolder(t);
  const around = surroundings();
  const handle = serving(around.services);
  const server = new ByteServer((call) => handle(call));
  for (const { service } of around.services) {
    for (const method of service.methods) server.register(methodPath(method));
  }
  const kernelAddress = `unix:${join(folder, 'peers.sock')}`;
  await server.bind(kernelAddress, grpc.ServerCredentials.createInsecure());
  t.teardown(async () => {
    around.world.close();
    await server.shutdown(0);
  });
  return {
    ...around,
    folder,
    start: (failpoints) => startProcess(t, folder, kernelAddress, failpoints),
  };
}

async function startProcess(
  t: ExecutionContext,
  folder: string,
  kernelAddress: string,
  failpoints: string | undefined,
): Promise<RunningVnfm> {
  // The socket of a process that was killed is still in the folder.
  const socket = join(folder, `vnfm-${++sockets}.sock`);
  const child = spawn(process.execPath, [program], {
    stdio: ['pipe', 'pipe', 'ignore'],
    env: {
      ...process.env,
      ...{ NFV_PLUGIN_SOCKET: socket, NFV_PLUGIN_INSTANCE: 'vnfm', NFV_PLUGIN_DATA: folder },
      NFV_KERNEL_ADDRESS: kernelAddress,
      NFV_PLUGIN_CONFIG: JSON.stringify({ packageFolders: [folder] }),
      ...(failpoints !== undefined && { NFV_FAILPOINTS: failpoints }),
    },
  });
  const ended = once(child, 'exit').then(([code, signal]) => String(signal ?? code));
  t.teardown(() => kill(child));
  await Promise.race([
    once(child.stdout!, 'data'),
    ended.then((signal) => {
      throw new Error(`the VNFM ended before it was ready: ${signal}`);
    }),
  ]);
  const channel = openChannel({ address: `unix:${socket}` });
  t.teardown(() => channel.close());
  const stop = async () => {
    channel.close();
    kill(child);
    await ended;
  };
  return { ...clientsOf(channel), ended, stop };
}

function kill(child: ChildProcess): void {
  if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
}

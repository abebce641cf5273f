/** Where the server listens. */
import { lstat, rm } from 'node:fs/promises';
import { connect, isIPv4, type Server } from 'node:net';
import {
  failedPrecondition,
  invalidArgument,
  permissionDenied,
  type RpcError,
  unavailable,
} from '../../../sdk/errors.ts';

export type ListenAddress = { socketPath: string } | { host: string; port: number };

/** Bytes of a socket's path that the system has room for. */
const socketPathBytesMax = 107;

/** `HOST:PORT`, where port 0 takes a free one. */
export function parseListen(text: string): { host: string; port: number } {
  const [, host, port] = /^(\[[0-9a-f:.%]+\]|[^\s:]+):(\d{1,5})$/i.exec(text) ?? [];
  if (host !== undefined && Number(port) <= 65_535) {
    return { host: host.replace(/^\[(.*)\]$/, '$1'), port: Number(port) };
  }
  const wrong = `--listen "${text}": must be HOST:PORT, for example 127.0.0.1:10809 or [::1]:0`;
  throw invalidArgument('LISTEN_INVALID', wrong, { address: text });
}

/** True when only this machine reaches the address. */
export function isLocal(address: ListenAddress): boolean {
  if ('socketPath' in address) return true;
  const { host } = address;
  return host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'));
}

/**
 * Listens and gives the port for port 0. A socket file belongs to its user alone from its first
 * moment; one that a killed server left is replaced. ADDRESS_IN_USE (FAILED_PRECONDITION).
 */
export async function listen(server: Server, address: ListenAddress): Promise<ListenAddress> {
  if ('socketPath' in address) {
    checkLength(address.socketPath);
    await clearSocket(address.socketPath);
    const before = process.umask(0o177);
    try {
      // The call binds before it returns.
      await listening(server, address.socketPath, () => server.listen(address.socketPath));
    } finally {
      process.umask(before);
    }
    return address;
  }
  const { host, port } = address;
  await listening(server, `${host}:${port}`, () => server.listen({ host, port }));
  return { host, port: (server.address() as { port: number }).port };
}

async function listening(server: Server, place: string, start: () => void): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException) => reject(cannotListen(place, error));
    server.once('error', failed);
    server.once('listening', () => {
      server.off('error', failed);
      resolve();
    });
    start();
  });
}

function cannotListen(place: string, error: NodeJS.ErrnoException): RpcError {
  const { code = '' } = error;
  if (code === 'EADDRINUSE') return inUse(place, `another process listens on ${place}`);
  if (code === 'EACCES' || code === 'EPERM') {
    const text = `this user may not listen on ${place}`;
    return permissionDenied('LISTEN_FORBIDDEN', text, { address: place });
  }
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    const text = `the folder of ${place} does not exist`;
    return failedPrecondition('TARGET_FOLDER_MISSING', text, { path: place });
  }
  const text = `cannot listen on ${place}: ${error.message}`;
  return unavailable('LISTEN_FAILED', text, { address: place, code });
}

async function clearSocket(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined) return;
  if (!found.isSocket()) throw inUse(path, `${path} is not a socket: move it away`);
  if (await answers(path)) throw inUse(path, `another process listens on ${path}: stop it`);
  await rm(path, { force: true });
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const connection = connect(path);
    connection.once('connect', () => {
      connection.destroy();
      resolve(true);
    });
    // Refused: nobody listens. Anything else (full, forbidden) means that somebody may.
    connection.once('error', (error: NodeJS.ErrnoException) =>
      resolve(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT'),
    );
  });
}

function checkLength(path: string): void {
  const bytes = Buffer.byteLength(path);
  if (bytes <= socketPathBytesMax) return;
  const text =
    `the socket path ${path} has ${bytes} bytes, and ${socketPathBytesMax} are possible: use a ` +
    'shorter one';
  throw invalidArgument('LISTEN_INVALID', text, { path });
}

function inUse(path: string, text: string): RpcError {
  return failedPrecondition('ADDRESS_IN_USE', text, { path });
}

import { chmod, lstat, mkdir, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { join, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { failedPrecondition, invalidArgument, type RpcError } from '../../sdk/errors.ts';

/** The longest path of a Unix socket on every system we know, without its end mark. */
const socketPathBytesMax = 103;

/**
 * The folder with the sockets of one kernel. Held from `open` to `close`; a dead holder holds
 * nothing.
 */
export class RunFolder {
  readonly path: string;
  readonly #lock: DatabaseSync;

  private constructor(path: string, lock: DatabaseSync) {
    this.path = path;
    this.#lock = lock;
  }

  /**
   * Makes the folder (0700) and takes it for this process.
   *
   * @throws RpcError FAILED_PRECONDITION ADDRESS_IN_USE: another kernel holds it.
   */
  static async open(folder: string): Promise<RunFolder> {
    const path = resolve(folder);
    await mkdir(path, { recursive: true, mode: 0o700 });
    await chmod(path, 0o700);
    const lock = takeLock(path);
    // Sockets of plugin processes of a kernel that died.
    await rm(join(path, 'plugins'), { recursive: true, force: true });
    await mkdir(join(path, 'plugins'), { mode: 0o700 });
    return new RunFolder(path, lock);
  }

  /** The path of the socket for a role in a run folder. */
  static socketIn(folder: string, role: string): string {
    return assertLength(join(folder, `${role}.sock`));
  }

  /** A path for the socket of one start of a plugin process. */
  pluginSocket(instanceId: string, start: number): string {
    return assertLength(join(this.path, 'plugins', `${instanceId}.${start}.sock`));
  }

  /**
   * Makes room for a socket: what a dead process left is removed.
   *
   * @throws RpcError FAILED_PRECONDITION ADDRESS_IN_USE: a process listens on it, or it is no
   * socket.
   */
  async clear(socket: string): Promise<void> {
    const status = await lstat(socket).catch((error) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    });
    if (!status) return;
    if (!status.isSocket()) throw inUse(socket, `${socket} is not a socket: move it away`);
    if (await answers(socket)) throw inUse(socket, `another process listens on ${socket}: stop it`);
    await rm(socket, { force: true });
  }

  close(): void {
    this.#lock.close();
  }
}

/**
 * A lock that ends with its process: an exclusive transaction on an empty database. The operating
 * system releases it however the process ends, which a file with a pid cannot promise.
 */
function takeLock(folder: string): DatabaseSync {
  const database = new DatabaseSync(join(folder, 'kernel.lock'), { timeout: 0 });
  try {
    database.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE');
    return database;
  } catch (thrown) {
    database.close();
    if (!/locked|busy/i.test((thrown as Error).message)) throw thrown;
    throw inUse(folder, `another kernel runs with the folder ${folder}: stop it or use another`);
  }
}

function answers(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const connection = connect(socket);
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

function assertLength(socket: string): string {
  const bytes = Buffer.byteLength(socket);
  if (bytes <= socketPathBytesMax) return socket;
  const text =
    `the socket path ${socket} has ${bytes} bytes, and ${socketPathBytesMax} are possible: ` +
    'use a shorter run folder';
  throw invalidArgument('OPTION_INVALID', text, { option: 'runFolder', path: socket });
}

function inUse(path: string, text: string): RpcError {
  return failedPrecondition('ADDRESS_IN_USE', text, { path });
}

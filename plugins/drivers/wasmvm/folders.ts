import { createHash } from 'node:crypto';
import { lstat, mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { failedPrecondition } from '../../../sdk/errors.ts';
import { makeFolder } from './files.ts';

/** The longest path of a Unix socket, in bytes. */
const socketPathBytesMax = 107;
/** "/", 16 characters, ".sock". */
const socketNameBytes = 22;

/** Where the driver keeps what. All paths are absolute. */
export type Folders = {
  volumes: string;
  snapshots: string;
  programs: string;
  consoles: string;
  /** Sockets of VNF channels: in the data folder when their paths are short enough there. */
  channels: string;
  records: string;
};

/** Makes the folders in the driver's data folder. */
export async function openFolders(dataFolder: string): Promise<Folders> {
  const root = resolve(dataFolder);
  const folders: Folders = {
    volumes: join(root, 'volumes'),
    snapshots: join(root, 'snapshots'),
    programs: join(root, 'programs'),
    consoles: join(root, 'consoles'),
    channels: join(root, 'channels'),
    records: join(root, 'state.db'),
  };
  if (Buffer.byteLength(folders.channels) + socketNameBytes > socketPathBytesMax) {
    folders.channels = await shortFolder(root);
  }
  for (const key of ['volumes', 'snapshots', 'programs', 'consoles', 'channels'] as const) {
    await makeFolder(folders[key]);
  }
  return folders;
}

/**
 * A folder for sockets with a short path, the same one for the same data folder, that nobody else
 * can write to.
 */
async function shortFolder(root: string): Promise<string> {
  const name = createHash('sha256').update(root).digest('hex').slice(0, 16);
  const path = join(process.env.XDG_RUNTIME_DIR ?? tmpdir(), `wasmvm-${name}`);
  await mkdir(path, { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
  const found = await lstat(path);
  const mine =
    found.isDirectory() && found.uid === process.getuid?.() && (found.mode & 0o077) === 0;
  if (!mine || Buffer.byteLength(path) + socketNameBytes > socketPathBytesMax) {
    const text = `${path} cannot hold the sockets of VNF channels: it must be short and private`;
    throw failedPrecondition('CHANNEL_FOLDER', text, { path });
  }
  return path;
}

/** The name of the socket of a VNF channel. */
export function socketName(computeId: string): string {
  return `${createHash('sha256').update(computeId).digest('hex').slice(0, 16)}.sock`;
}

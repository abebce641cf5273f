import { randomUUID } from 'node:crypto';
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { failedPrecondition } from '../../../../sdk/errors.ts';
import { JsonLineSocket } from '../channels/json-lines.ts';
import { commandLine, identify, killProcess, spawnDetached } from '../host/process.ts';
import type { DriverContext } from '../state/context.ts';
import { folderName } from '../state/folders.ts';
import type { LayerRecord, OpeningRecord } from '../state/records.ts';

/** An opening that nobody closes ends by itself: its reader is gone. */
export const openingMs = 3_600_000;
const connectionsMax = 8;
const socketDeadlineMs = 10_000;
/** The address of a Unix socket, with its end mark, fits 108 bytes. */
const socketPathBytesMax = 107;

/** A disk served over NBD. */
export type Served = { socketPath: string; exportName: string };

/** How the sockets of an opening begin. */
export const socketPrefix = (token: string): string => folderName(token).slice(0, 12);

/** Records an opening, of the caller's token if it gave one: its layers stay as they are. */
export function recordOpening(
  context: DriverContext,
  opening: Omit<OpeningRecord, 'token' | 'expireTimeMs'>,
  token = '',
): OpeningRecord {
  const record: OpeningRecord = {
    ...opening,
    token: token || randomUUID(),
    expireTimeMs: Date.now() + openingMs,
  };
  context.store.put('opening', record.token, record);
  return record;
}

/**
 * Serves a frozen layer, read-only, until the opening ends; the server also ends by itself when it
 * expires. `index` tells the images of an opening apart.
 */
export async function serveLayer(
  context: DriverContext,
  token: string,
  index: number,
  name: string,
  layer: LayerRecord,
): Promise<Served> {
  const socketPath = join(context.folders.nbd, `${socketPrefix(token)}-${index}`);
  if (Buffer.byteLength(socketPath) > socketPathBytesMax) {
    const text = `${socketPath} is longer than ${socketPathBytesMax} bytes: use a shorter data folder`;
    throw failedPrecondition('PATH_TOO_LONG', text, { path: socketPath });
  }
  await rm(socketPath, { force: true });
  await spawnDetached(
    'timeout',
    [
      ...['--signal=KILL', `${Math.ceil(openingMs / 1000)}s`, 'qemu-nbd', '--read-only'],
      ...['--persistent', `--shared=${connectionsMax}`, `--format=${layer.format}`],
      ...[`--socket=${socketPath}`, `--export-name=${name}`, context.folders.layer(layer)],
    ],
    { cwd: context.folders.nbd, logFile: join(context.folders.nbd, 'nbd.log') },
  );
  (await JsonLineSocket.connect(socketPath, socketDeadlineMs)).close();
  return { socketPath, exportName: name };
}

/** Ends an opening and its servers; false when there is none of that token. */
export async function closeOpening(context: DriverContext, token: string): Promise<boolean> {
  const opening = context.store.get('opening', token);
  if (!opening) return false;
  const prefix = `${socketPrefix(token)}-`;
  await endServers(join(context.folders.nbd, prefix));
  for (const name of await readdir(context.folders.nbd)) {
    if (name.startsWith(prefix)) await rm(join(context.folders.nbd, name), { force: true });
  }
  context.store.delete('opening', token);
  return true;
}

/** Closes what has expired. */
export async function closeExpired(context: DriverContext): Promise<boolean> {
  const expired = context.store
    .list('opening')
    .filter(({ expireTimeMs }) => expireTimeMs <= Date.now());
  for (const { token } of expired) await closeOpening(context, token);
  return expired.length > 0;
}

/**
 * Ends what serves below a prefix of socket paths: `timeout`, which leads, and `qemu-nbd`, which may
 * have outlived it. Found by what they serve, because a process number alone is nobody's name.
 */
async function endServers(socketPrefix: string): Promise<void> {
  const option = `--socket=${socketPrefix}`;
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    // First who it is, then what it does: a number that changes hands in between is not killed.
    const server = identify(Number(name));
    if (!server) continue;
    const words = await commandLine(server.pid);
    if (words.some((word) => word.startsWith(option))) await killProcess(server);
  }
}

export const fileSize = async (path: string): Promise<number> => (await stat(path)).size;

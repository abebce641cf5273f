import { randomUUID } from 'node:crypto';
import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { failedPrecondition } from '../../../../sdk/errors.ts';
import { JsonLineSocket } from '../channels/json-lines.ts';
import { killProcess, type ProcessIdentity, spawnDetached } from '../host/process.ts';
import type { DriverContext } from '../state/context.ts';
import type { LayerRecord, OpeningRecord } from '../state/records.ts';

/** An opening that nobody closes ends by itself: its reader is gone. */
export const openingMs = 3_600_000;
const connectionsMax = 8;
const socketDeadlineMs = 10_000;
/** The address of a Unix socket, with its end mark, fits 108 bytes. */
const socketPathBytesMax = 107;

/** A disk served over NBD. */
export type Served = { socketPath: string; exportName: string };

/** Records an opening: from now on its layers stay as they are. */
export function recordOpening(
  context: DriverContext,
  opening: Omit<OpeningRecord, 'token' | 'expireTimeMs' | 'servers'>,
): OpeningRecord {
  const record: OpeningRecord = {
    ...opening,
    token: randomUUID(),
    expireTimeMs: Date.now() + openingMs,
    servers: [],
  };
  context.store.put('opening', record.token, record);
  return record;
}

/**
 * Serves a frozen layer, read-only, until the opening ends; the server also ends by itself when it
 * expires.
 */
export async function serveLayer(
  context: DriverContext,
  token: string,
  name: string,
  layer: LayerRecord,
): Promise<Served> {
  const opening = context.store.get('opening', token)!;
  const socketPath = join(context.folders.nbd, `${token.slice(0, 8)}-${opening.servers.length}`);
  if (Buffer.byteLength(socketPath) > socketPathBytesMax) {
    const text = `${socketPath} is longer than ${socketPathBytesMax} bytes: use a shorter data folder`;
    throw failedPrecondition('PATH_TOO_LONG', text, { path: socketPath });
  }
  await rm(socketPath, { force: true });
  const server = await spawnDetached(
    'timeout',
    [
      ...['--signal=KILL', `${Math.ceil(openingMs / 1000)}s`, 'qemu-nbd', '--read-only'],
      ...['--persistent', `--shared=${connectionsMax}`, `--format=${layer.format}`],
      ...[`--socket=${socketPath}`, `--export-name=${name}`, context.folders.layer(layer)],
    ],
    { cwd: context.folders.nbd, logFile: join(context.folders.nbd, 'nbd.log') },
  );
  context.store.put('opening', token, { ...opening, servers: [...opening.servers, server] });
  (await JsonLineSocket.connect(socketPath, socketDeadlineMs)).close();
  return { socketPath, exportName: name };
}

/** Ends an opening and its servers; false when there is none of that token. */
export async function closeOpening(context: DriverContext, token: string): Promise<boolean> {
  const opening = context.store.get('opening', token);
  if (!opening) return false;
  for (const server of opening.servers) await endServer(server);
  for (const index of opening.servers.keys()) {
    await rm(join(context.folders.nbd, `${token.slice(0, 8)}-${index}`), { force: true });
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
 * `timeout` leads a group of its own with the server in it: the group ends, or the server would be
 * left behind.
 */
async function endServer(server: ProcessIdentity): Promise<void> {
  try {
    process.kill(-server.pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
  await killProcess(server);
}

export const fileSize = async (path: string): Promise<number> => (await stat(path)).size;

import { closeSync, constants, createReadStream, openSync } from 'node:fs';
import { open, readFile, rm } from 'node:fs/promises';
import net from 'node:net';
import { pipeline } from 'node:stream/promises';
import { dataLoss, internal, unavailable } from '../../../../sdk/errors.ts';
import type { QmpClient } from '../channels/qmp-client.ts';
import { runFiles } from '../machine/arguments.ts';
import type { Machine } from '../machine/machine.ts';

/** Device state without memory is some 100 KiB; ROMs and video memory may add megabytes. */
const deviceStateBytesMax = 256 * 1024 * 1024;
const migrateDeadlineMs = 60_000;
const pollMs = 5;
const logTailCharacters = 500;
/** QEMU limits the rate by default, for links that are shared. */
const bandwidthBytesPerSecond = 2 ** 40;

type MigrationStatus = { status?: string; 'error-desc'?: string };

/** Leaves guest memory out of the stream: it is a file that both sides share. */
async function prepareMigration(qmp: QmpClient): Promise<void> {
  const capabilities = [{ capability: 'x-ignore-shared', state: true }];
  await qmp.execute('migrate-set-capabilities', { capabilities });
}

/**
 * Writes the device state of a paused machine to a new file and makes it durable. Afterwards the
 * machine is paused still ("postmigrate"), and `cont` lets it run on. A machine that dies:
 * UNAVAILABLE reason GUEST_DIED.
 */
export async function saveDeviceState(machine: Machine, path: string): Promise<number> {
  await prepareMigration(machine.qmp);
  const parameters = { 'max-bandwidth': bandwidthBytesPerSecond };
  await machine.qmp.execute('migrate-set-parameters', parameters);
  const receiver = await listenInFolder(machine.folder, runFiles.migration);
  const file = await open(path, 'wx', 0o600);
  try {
    let bytes = 0;
    const received = receiver.accept().then((socket) =>
      pipeline(socket, async (source: AsyncIterable<Buffer>) => {
        for await (const chunk of source) {
          bytes += chunk.length;
          if (bytes > deviceStateBytesMax)
            throw internal('STATE_TOO_LARGE', 'device state too large');
          await file.write(chunk);
        }
      }),
    );
    let lost: NodeJS.ErrnoException | undefined;
    received.catch((error) => {
      lost = error;
    });
    await machine.qmp.execute('migrate', { uri: `unix:${runFiles.migration}` });
    try {
      await waitForMigration(machine);
    } catch (error) {
      // QEMU does not know why its reader went away; of all else it knows more.
      throw lost?.syscall === 'write' ? lost : error;
    }
    await received;
    await file.sync();
    return bytes;
  } finally {
    await file.close();
    receiver.close();
    await rm(machine.path('migration'), { force: true });
  }
}

/**
 * Loads device state into a machine that was started to receive it; it is paused afterwards. QEMU
 * ends when it refuses the state: DATA_LOSS reason DEVICE_STATE_REFUSED with its words.
 */
export async function loadDeviceState(machine: Machine, path: string): Promise<void> {
  await prepareMigration(machine.qmp);
  await machine.qmp.execute('migrate-incoming', { uri: `unix:${runFiles.migration}` });
  const socket = await connectInFolder(machine.folder, runFiles.migration);
  const sent = pipeline(createReadStream(path), socket);
  sent.catch(() => {}); // QEMU closes the connection when it refuses the state, and says why itself
  try {
    await waitForMigration(machine);
  } catch (error) {
    throw (await refusal(machine)) ?? error;
  }
  await sent;
  await rm(machine.path('migration'), { force: true });
}

async function refusal(machine: Machine): Promise<Error | undefined> {
  const log = await readFile(machine.path('log'), 'utf8').catch(() => '');
  if (!/load of migration failed|error while loading state/.test(log)) return undefined;
  const words = log.trim().slice(-logTailCharacters);
  return dataLoss('DEVICE_STATE_REFUSED', `QEMU refused the device state: ${words}`);
}

async function waitForMigration(machine: Machine): Promise<void> {
  const end = performance.now() + migrateDeadlineMs;
  for (;;) {
    const status = await queryMigration(machine);
    if (status.status === 'completed') return;
    if (status.status === 'failed' || status.status === 'cancelled') {
      const why = status['error-desc'] ?? 'QEMU gives no reason; see its log';
      throw dataLoss('DEVICE_STATE_REFUSED', `device state ${status.status}: ${why}`);
    }
    if (performance.now() > end) {
      await machine.qmp.execute('migrate_cancel').catch(() => {});
      throw internal('MIGRATION_STUCK', `device state: not done within ${migrateDeadlineMs} ms`);
    }
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}

async function queryMigration(machine: Machine): Promise<MigrationStatus> {
  try {
    return await machine.qmp.execute<MigrationStatus>('query-migrate');
  } catch (error) {
    if (machine.alive && !machine.qmp.closed) throw error;
    throw unavailable('GUEST_DIED', `the QEMU process ${machine.process.pid} ended meanwhile`);
  }
}

// The address of a Unix socket holds 107 bytes; going through an open folder makes any path short.
async function listenInFolder(folder: string, name: string) {
  const fd = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  const server = net.createServer();
  const connection = new Promise<net.Socket>((resolve, reject) => {
    server.once('connection', resolve);
    server.once('close', () => reject(new Error('nobody connected')));
  });
  connection.catch(() => {});
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(`/proc/self/fd/${fd}/${name}`, resolve);
  });
  return {
    accept: () => connection,
    close: () => server.close(() => closeSync(fd)),
  };
}

async function connectInFolder(folder: string, name: string): Promise<net.Socket> {
  const fd = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    return await new Promise((resolve, reject) => {
      const socket = net.connect(`/proc/self/fd/${fd}/${name}`);
      socket.once('connect', () => resolve(socket));
      socket.once('error', reject);
    });
  } finally {
    closeSync(fd);
  }
}

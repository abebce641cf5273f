import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { timestampMs } from '@bufbuild/protobuf/wkt';
import { RpcError } from '../../../sdk/errors.ts';
import { Repeated } from '../automation/repeated.ts';
import { packageArchives } from '../records.ts';
import { readAll } from '../services/listing.ts';
import { checkFree } from '../usage.ts';
import type { Vnfm } from '../vnfm.ts';
import type { ArchiveShelf } from './shelf.ts';

const pauseMsMax = 60_000;

/** Takes away archives that nobody has touched for the configured time, and files of none. */
export function sweeper({ shelf, clock, logger }: Vnfm): Repeated {
  const pauseMs = Math.min(pauseMsMax, shelf.parts.config.archiveKeepSeconds * 500);
  return new Repeated(clock, pauseMs, async (signal) => {
    try {
      await sweep(shelf);
    } catch (error) {
      if (!signal.aborted) logger.error('archives cannot be swept', { error });
    }
  });
}

async function sweep(shelf: ArchiveShelf): Promise<void> {
  const { store, clock, config, logger, folder } = shelf.parts;
  const oldest = clock.now().getTime() - config.archiveKeepSeconds * 1000;
  for (const { id, touchedAt } of await readAll(store, packageArchives)) {
    if (shelf.isUsed(id) || !touchedAt || timestampMs(touchedAt) > oldest) continue;
    if (await remove(shelf, id)) logger.info('an abandoned archive is gone', { archive: id });
  }
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  for (const name of names) {
    // An id has no dot; what an export writes under another name first begins with its id too.
    const id = name.replace(/^\./, '').split('.')[0]!;
    if (shelf.isUsed(id)) continue;
    await shelf.alone(id, async () => {
      if (await store.collection(packageArchives).get(id)) return;
      await rm(join(folder, name), { force: true });
    });
  }
}

/** False when an operation has it. */
async function remove(shelf: ArchiveShelf, id: string): Promise<boolean> {
  try {
    await removeArchive(shelf, id);
    return true;
  } catch (thrown) {
    if (RpcError.from(thrown).reason === 'OPERATION_IN_PROGRESS') return false;
    throw thrown;
  }
}

/** FAILED_PRECONDITION with reason OPERATION_IN_PROGRESS; ABORTED with reason ARCHIVE_BUSY. */
export function removeArchive(shelf: ArchiveShelf, id: string): Promise<void> {
  return shelf.alone(id, () =>
    shelf.parts.store.transaction(async (tx) => {
      await checkFree(tx, { kind: 'archive', id, mode: 'exclusive' });
      await shelf.forget(tx, id);
    }),
  );
}

import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, rm, statfs } from 'node:fs/promises';
import {
  type ArchiveHeader,
  ArchiveState,
  type PackageArchive,
} from '../../../gen/nfv/vnf_snapshot_package/v1/package_archive_pb.js';
import {
  dataLoss,
  failedPrecondition,
  invalidArgument,
  RpcError,
  resourceExhausted,
} from '../../../sdk/errors.ts';
import { changeRecord, packageArchives } from '../records.ts';
import { checkFree } from '../usage.ts';
import { type ArchiveShelf, taken, wrongState } from './shelf.ts';

/** After so many bytes they are made durable: this much is sent again at most after a crash. */
const checkpointBytes = 16 * 1024 * 1024;

/**
 * Takes an upload, one piece at a time. However it ends, what the record says to be there is there;
 * with a full disk or a wrong digest nothing is. Errors as of UploadPackageArchive.
 */
export function receive(
  shelf: ArchiveShelf,
  header: ArchiveHeader,
  pieces: AsyncIterable<Uint8Array>,
): Promise<PackageArchive> {
  const { archiveId: id } = header;
  return shelf.alone(id, async () => {
    const archive = await begin(shelf, header);
    if (archive.state === ArchiveState.WHOLE) return archive;
    try {
      await take(shelf, archive, pieces);
      await check(shelf, archive);
    } catch (thrown) {
      const isFull = fullReasons.includes(reasonOf(thrown));
      if (!isFull) throw thrown;
      await drop(shelf, id);
      throw full(archive, archive.sizeBytes - archive.receivedBytes);
    }
    return archive;
  });
}

/** The record that the upload goes on with. */
async function begin(shelf: ArchiveShelf, header: ArchiveHeader): Promise<PackageArchive> {
  const { archiveId: id, sizeBytes, sha256, offset } = header;
  const { store, config } = shelf.parts;
  if (sizeBytes > BigInt(config.archiveBytesMax)) {
    const text = `archive "${id}" has ${sizeBytes} bytes, at most ${config.archiveBytesMax} are allowed (archiveBytesMax of the VNFM)`;
    const limit = String(config.archiveBytesMax);
    throw resourceExhausted('ARCHIVE_TOO_LARGE', text, { archive_id: id, limit_bytes: limit });
  }
  await shelf.prepare();
  const known = (await store.collection(packageArchives).get(id)) && (await shelf.find(id));
  if (known?.state === ArchiveState.WRITING) throw wrongState(known);
  if (known && (known.sizeBytes !== sizeBytes || known.sha256 !== sha256)) throw taken(id);
  const have = known?.receivedBytes ?? 0n;
  if (offset !== have) {
    const text = `archive "${id}": the upload begins at byte ${offset}, but byte ${have} is the next: begin there`;
    throw failedPrecondition('OFFSET_MISMATCH', text, { archive_id: id, offset: String(have) });
  }
  if (known?.state === ArchiveState.WHOLE) return known;
  const { bavail, bsize } = await statfs(shelf.parts.folder, { bigint: true });
  if (bavail * bsize < sizeBytes - have) {
    if (known) await drop(shelf, id);
    throw full(header, sizeBytes - have, bavail * bsize);
  }
  if (known) return known;
  const state = ArchiveState.RECEIVING;
  return store.transaction(async (tx) => {
    await checkFree(tx, { kind: 'archive', id, mode: 'exclusive' });
    return shelf.insert(tx, { id, state, sizeBytes, sha256 });
  });
}

/** Writes the pieces behind what is there. `archive.receivedBytes` is what is durable. */
async function take(
  shelf: ArchiveShelf,
  archive: PackageArchive,
  pieces: AsyncIterable<Uint8Array>,
): Promise<void> {
  const handle = await open(shelf.pathOf(archive.id), constants.O_RDWR | constants.O_CREAT, 0o600);
  try {
    let at = archive.receivedBytes;
    // What was written after the last checkpoint of a killed process may be anything.
    await handle.truncate(Number(at));
    if (at === 0n) await syncFolder(shelf);
    const keep = async () => {
      if (at > archive.receivedBytes) await checkpoint(shelf, archive, handle, at);
    };
    try {
      for await (const piece of pieces) {
        if (piece.length === 0) throw misplaced('a piece is empty');
        if (at + BigInt(piece.length) > archive.sizeBytes) {
          throw misplaced(`more than the announced ${archive.sizeBytes} bytes came`);
        }
        await writeAll(handle, piece, Number(at));
        at += BigInt(piece.length);
        if (at - archive.receivedBytes >= checkpointBytes) await keep();
      }
    } finally {
      await keep();
    }
  } finally {
    await handle.close();
  }
  const { receivedBytes, sizeBytes, id } = archive;
  if (receivedBytes === sizeBytes) return;
  const text = `archive "${id}": the stream was closed after ${receivedBytes} of ${sizeBytes} bytes, which are kept: go on there`;
  throw invalidArgument('STREAM_INCOMPLETE', text, { offset: String(receivedBytes) });
}

/** A write may take a part, as when the disk gets full; the next then says why. */
async function writeAll(handle: FileHandle, piece: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < piece.length; ) {
    const { bytesWritten } = await handle.write(piece, done, piece.length - done, position + done);
    done += bytesWritten;
  }
}

async function checkpoint(
  shelf: ArchiveShelf,
  archive: PackageArchive,
  handle: FileHandle,
  at: bigint,
): Promise<void> {
  await handle.datasync();
  await shelf.parts.store.transaction((tx) =>
    changeRecord(tx, packageArchives, archive.id, (value) => {
      value.receivedBytes = at;
      value.touchedAt = shelf.now();
    }),
  );
  archive.receivedBytes = at;
}

async function syncFolder(shelf: ArchiveShelf): Promise<void> {
  const folder = await open(shelf.parts.folder, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** Reads back what is on the disk, and calls it whole only when it is what was announced. */
async function check(shelf: ArchiveShelf, archive: PackageArchive): Promise<void> {
  const { id, sha256 } = archive;
  const hash = createHash('sha256');
  const handle = await open(shelf.pathOf(id), 'r');
  for await (const piece of handle.createReadStream()) hash.update(piece);
  const found = hash.digest('hex');
  if (found !== sha256) {
    await drop(shelf, id);
    const text = `archive "${id}" has SHA-256 ${found}, announced was ${sha256}: nothing of it is kept, begin anew`;
    throw dataLoss('CHECKSUM_MISMATCH', text, { archive_id: id, found, expected: sha256 });
  }
  await shelf.parts.store.transaction((tx) =>
    changeRecord(tx, packageArchives, id, (value) => {
      value.state = ArchiveState.WHOLE;
      value.touchedAt = shelf.now();
    }),
  );
  archive.state = ArchiveState.WHOLE;
}

/** Bytes first: on a full disk the records have no room either before they are gone. */
async function drop(shelf: ArchiveShelf, id: string): Promise<void> {
  await rm(shelf.pathOf(id), { force: true });
  await shelf.parts.store.transaction((tx) => shelf.forget(tx, id));
}

const fullReasons = ['ENOSPC', 'EDQUOT', 'STORE_FULL'];

function reasonOf(thrown: unknown): string {
  if (thrown instanceof RpcError) return thrown.reason;
  return (thrown as NodeJS.ErrnoException).code ?? '';
}

function full(
  archive: { sizeBytes: bigint; id?: string; archiveId?: string },
  needed: bigint,
  free?: bigint,
) {
  const id = archive.id ?? archive.archiveId ?? '';
  const has = free === undefined ? 'is full' : `has ${free}`;
  const text = `archive "${id}" needs ${needed} more bytes, the VNFM's disk ${has}: nothing of it is kept; make room, then begin anew`;
  return resourceExhausted('ARCHIVE_SPACE', text, {
    ...{ archive_id: id, needed_bytes: String(needed), size_bytes: String(archive.sizeBytes) },
    ...(free !== undefined && { free_bytes: String(free) }),
  });
}

export function misplaced(why: string) {
  return invalidArgument('STREAM_INVALID', `the upload is out of order: ${why}`);
}

/**
 * Archives that callers upload and download: a file each, and a record that says how many bytes of
 * it are durable. Bytes first, then the record: what the record says is never more than what there
 * is. The record goes before its file; files without a record are swept.
 */
import { constants } from 'node:fs';
import { mkdir, open, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import {
  ArchiveState,
  type PackageArchive,
  PackageArchiveSchema,
} from '../../../gen/nfv/vnf_snapshot_package/v1/package_archive_pb.js';
import {
  aborted,
  alreadyExists,
  failedPrecondition,
  resourceExhausted,
} from '../../../sdk/errors.ts';
import type { Clock } from '../../../sdk/ports/clock.ts';
import type { Logger } from '../../../sdk/ports/logger.ts';
import type { RecordStore, Transaction } from '../../../sdk/records/record-store.ts';
import type { VnfmConfig } from '../config.ts';
import { changeRecord, packageArchives, requireRecord, unknownArchive } from '../records.ts';

/** Uploads that were begun and exports that were not fetched; each is a record and a file. */
const archiveCountMax = 1000;

export type ShelfParts = {
  folder: string;
  store: RecordStore;
  clock: Clock;
  logger: Logger;
  config: Pick<VnfmConfig, 'archiveBytesMax' | 'archiveKeepSeconds' | 'archiveIdleSeconds'>;
};

export class ArchiveShelf {
  readonly parts: ShelfParts;
  /** Archives that are written or taken away now, in this process. */
  readonly #busy = new Set<string>();
  readonly #readers = new Map<string, number>();

  constructor(parts: ShelfParts) {
    this.parts = parts;
  }

  pathOf(id: string): string {
    return join(this.parts.folder, `${id}.zip`);
  }

  async prepare(): Promise<void> {
    await mkdir(this.parts.folder, { recursive: true, mode: 0o700 });
  }

  now() {
    return timestampFromDate(this.parts.clock.now());
  }

  /** Alone with an archive. ABORTED with reason ARCHIVE_BUSY. */
  async alone<T>(id: string, work: () => Promise<T>): Promise<T> {
    if (this.#busy.has(id)) {
      const text = `archive "${id}" is being uploaded or taken away by another call: ask for its offset again when that has ended`;
      throw aborted('ARCHIVE_BUSY', text, { archive_id: id });
    }
    this.#busy.add(id);
    try {
      return await work();
    } finally {
      this.#busy.delete(id);
    }
  }

  isUsed(id: string): boolean {
    return this.#busy.has(id) || this.#readers.has(id);
  }

  /** What there is. A file that somebody else has shortened counts as not there. */
  async find(id: string): Promise<PackageArchive> {
    const { value } = await requireRecord(this.parts.store, packageArchives, id, unknownArchive);
    if (value.state === ArchiveState.WRITING || this.#busy.has(id)) return value;
    const size = (await stat(this.pathOf(id)).catch(() => undefined))?.size ?? 0;
    if (BigInt(size) >= value.receivedBytes) return value;
    const { logger, store } = this.parts;
    logger.warn('an archive has lost bytes, and begins anew', { archive: id, size });
    const anew = { receivedBytes: 0n, state: ArchiveState.RECEIVING };
    const lost = create(PackageArchiveSchema, { ...value, ...anew });
    await store.collection(packageArchives).put(id, lost);
    return lost;
  }

  /** Makes the record of an archive that an export will write. ALREADY_EXISTS, ARCHIVE_EXISTS. */
  async reserve(tx: Transaction, id: string): Promise<void> {
    await this.insert(tx, { id, state: ArchiveState.WRITING });
  }

  /** Makes a record. RESOURCE_EXHAUSTED, ARCHIVE_COUNT; ALREADY_EXISTS, ARCHIVE_EXISTS. */
  async insert(
    tx: Transaction,
    fields: { id: string; state: ArchiveState; sizeBytes?: bigint; sha256?: string },
  ): Promise<PackageArchive> {
    const all = tx.collection(packageArchives);
    if (await all.get(fields.id)) throw taken(fields.id);
    if ((await all.count()) >= archiveCountMax) {
      const text = `there are ${archiveCountMax} archives: delete some`;
      throw resourceExhausted('ARCHIVE_COUNT', text, { limit: String(archiveCountMax) });
    }
    const archive = create(PackageArchiveSchema, { ...fields, touchedAt: this.now() });
    await all.insert(fields.id, archive);
    return archive;
  }

  /** An export has written it. */
  fill(tx: Transaction, id: string, whole: { sizeBytes: bigint; sha256: string }): Promise<void> {
    return changeRecord(tx, packageArchives, id, (archive) => {
      const { sizeBytes: receivedBytes } = whole;
      const state = ArchiveState.WHOLE;
      Object.assign(archive, { ...whole, receivedBytes, state, touchedAt: this.now() });
    });
  }

  /** FAILED_PRECONDITION with reason ARCHIVE_STATE unless it is whole. */
  async requireWhole(tx: Transaction, id: string): Promise<PackageArchive> {
    const { value } = await requireRecord(tx, packageArchives, id, unknownArchive);
    if (value.state !== ArchiveState.WHOLE) throw wrongState(value);
    return value;
  }

  async touch(id: string): Promise<void> {
    await this.parts.store.transaction((tx) =>
      changeRecord(tx, packageArchives, id, (archive) => {
        archive.touchedAt = this.now();
      }),
    );
  }

  /** Takes it away. */
  async forget(tx: Transaction, id: string): Promise<void> {
    await tx.collection(packageArchives).delete(id);
    await rm(this.pathOf(id), { force: true });
  }

  /** The bytes of a whole archive from an offset on. A deletion meanwhile takes nothing from it. */
  async *read(archive: PackageArchive, offset: number): AsyncGenerator<Uint8Array> {
    const { id } = archive;
    const handle = await open(this.pathOf(id), constants.O_RDONLY);
    this.#readers.set(id, (this.#readers.get(id) ?? 0) + 1);
    try {
      await this.touch(id);
      for (let at = offset; at < Number(archive.sizeBytes); ) {
        const piece = Buffer.allocUnsafe(Math.min(pieceBytes, Number(archive.sizeBytes) - at));
        const { bytesRead } = await handle.read(piece, 0, piece.length, at);
        if (bytesRead === 0) throw wrongState(archive, 'is shorter than it was');
        at += bytesRead;
        yield piece.subarray(0, bytesRead);
      }
      await this.touch(id);
    } finally {
      const left = this.#readers.get(id)! - 1;
      if (left > 0) this.#readers.set(id, left);
      else this.#readers.delete(id);
      await handle.close();
    }
  }
}

/** Well below the largest message, and large enough that a message costs little. */
const pieceBytes = 256 * 1024;

export function taken(id: string) {
  const text = `there is an archive "${id}" already: take another id, or delete it`;
  return alreadyExists('ARCHIVE_EXISTS', text, { archive_id: id });
}

export function wrongState({ id, state }: PackageArchive, why?: string) {
  const name = ArchiveState[state] ?? '';
  const text = `archive "${id}" ${why ?? `is ${name}`}`;
  return failedPrecondition('ARCHIVE_STATE', text, { archive_id: id, state: name });
}

import {
  PackageArchiveSchema,
  type PackageArchiveService,
  type UploadPackageArchiveRequest,
} from '../../../gen/nfv/vnf_snapshot_package/v1/package_archive_pb.js';
import { deadlineExceeded, failedPrecondition, invalidArgument } from '../../../sdk/errors.ts';
import type { Handlers } from '../../../sdk/server.ts';
import { misplaced, receive } from '../archives/receive.ts';
import { removeArchive } from '../archives/sweep.ts';
import { packageArchives, requireRecord, unknownArchive } from '../records.ts';
import type { VnfmServices } from '../vnfm.ts';
import { readAll, select } from './listing.ts';

/** Archives that come and go as streams. */
export function packageArchiveHandlers({
  shelf,
  store,
  config,
}: VnfmServices): Handlers<typeof PackageArchiveService> {
  return {
    getPackageArchive: async ({ archiveId }) => ({ archive: await shelf.find(archiveId) }),
    queryPackageArchives: async (request) => {
      const all = await readAll(store, packageArchives);
      const query = { ...request, allFields: true, fields: [], excludeFields: [] };
      const { items, nextPageToken } = select(PackageArchiveSchema, all, query, []);
      return { archives: items, nextPageToken };
    },
    uploadPackageArchive: async (requests) => {
      const parts = patient(requests, config.archiveIdleSeconds * 1000);
      const first = await parts.next();
      if (first.done || first.value.part.case !== 'header') {
        throw misplaced('the first message must be the header');
      }
      return { archive: await receive(shelf, first.value.part.value, contents(parts)) };
    },
    downloadPackageArchive: async function* ({ archiveId, offset, sha256 }) {
      await shelf.find(archiveId);
      const archive = await shelf.requireWhole(store, archiveId);
      if (sha256 !== '' && sha256 !== archive.sha256) {
        const text = `archive "${archiveId}" has SHA-256 ${archive.sha256}, expected was ${sha256}: begin anew`;
        throw failedPrecondition('ARCHIVE_CHANGED', text, { archive_id: archiveId });
      }
      if (offset > archive.sizeBytes) {
        const text = `byte ${offset} is beyond the ${archive.sizeBytes} bytes of archive "${archiveId}"`;
        throw invalidArgument('OFFSET_INVALID', text, { size_bytes: String(archive.sizeBytes) });
      }
      yield { part: { case: 'archive', value: archive } };
      for await (const content of shelf.read(archive, Number(offset))) {
        yield { part: { case: 'content', value: content } };
      }
    },
    deletePackageArchive: async ({ archiveId }) => {
      await requireRecord(store, packageArchives, archiveId, unknownArchive);
      await removeArchive(shelf, archiveId);
      return {};
    },
  };
}

async function* contents(
  requests: AsyncIterable<UploadPackageArchiveRequest>,
): AsyncGenerator<Uint8Array> {
  for await (const { part } of requests) {
    if (part.case !== 'content') throw misplaced('after the header come pieces of content only');
    yield part.value;
  }
}

/** The same messages; a sender that falls silent is given up. */
async function* patient<T>(messages: AsyncIterable<T>, idleMsMax: number): AsyncGenerator<T> {
  const iterator = messages[Symbol.asyncIterator]();
  for (;;) {
    const late = Promise.withResolvers<never>();
    const text = `nothing came for ${idleMsMax / 1000} s: ask for the offset, and go on there`;
    const give = () => late.reject(deadlineExceeded('STREAM_IDLE', text));
    const timer = setTimeout(give, idleMsMax);
    try {
      const { done, value } = await Promise.race([iterator.next(), late.promise]);
      if (done) return;
      clearTimeout(timer);
      yield value;
    } finally {
      clearTimeout(timer);
    }
  }
}

import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import type { PackageArchiveService } from '../gen/nfv/vnf_snapshot_package/v1/package_archive_pb.js';
import type { Client } from '../sdk/client.ts';
import { isRpcError, notFound } from '../sdk/errors.ts';
import { persist } from './persist.ts';
import { ProgressLine } from './progress.ts';

export type Archives = Client<typeof PackageArchiveService>;

const pieceBytes = 256 * 1024;
/** One call at most; one that takes longer goes on in the next. */
export const transferDeadlineMs = 12 * 3_600_000;

/**
 * Sends a file to the VNFM, and goes on with what an earlier run has sent of the same file: its id
 * there is made of its digest. Returns the id.
 */
export async function sendArchive(
  archives: Archives,
  path: string,
  { json }: { json?: boolean },
): Promise<string> {
  const file = await open(path).catch((error: Error) => {
    throw notFound('FILE_UNREADABLE', `${path}: ${error.message}`, { file: path });
  });
  const line = new ProgressLine(process.stderr.isTTY === true && !json);
  try {
    const { size } = await file.stat();
    const hash = createHash('sha256');
    for await (const piece of file.createReadStream({ autoClose: false, start: 0 }))
      hash.update(piece);
    const sha256 = hash.digest('hex');
    const archiveId = `sha256-${sha256}`;
    let sent = 0;
    await persist(
      async () => {
        const offset = await offsetOf(archives, archiveId);
        sent = offset;
        const requests = async function* () {
          const header = { archiveId, sizeBytes: BigInt(size), sha256, offset: BigInt(offset) };
          yield { part: { case: 'header' as const, value: header } };
          for (let at = offset; at < size; sent = at) {
            const { bytesRead, buffer } = await file.read(
              Buffer.alloc(pieceBytes),
              0,
              pieceBytes,
              at,
            );
            if (bytesRead === 0) return;
            at += bytesRead;
            yield { part: { case: 'content' as const, value: buffer.subarray(0, bytesRead) } };
            line.show({ doneBytes: at, totalBytes: size, activity: `sending ${path}` });
          }
        };
        await archives.uploadPackageArchive(requests(), { deadlineMs: transferDeadlineMs });
      },
      () => sent,
    );
    return archiveId;
  } finally {
    line.clear();
    await file.close();
  }
}

async function offsetOf(archives: Archives, archiveId: string): Promise<number> {
  try {
    const { archive } = await archives.getPackageArchive({ archiveId });
    return Number(archive?.receivedBytes ?? 0n);
  } catch (thrown) {
    if (isRpcError(thrown, 'ARCHIVE_UNKNOWN')) return 0;
    throw thrown;
  }
}

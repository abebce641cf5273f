import { createHash } from 'node:crypto';
import { open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import type { ImageFormat } from '../gen/nfv/common/v1/common_pb.js';
import { OperationState } from '../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { OperationOccurrenceService } from '../gen/nfv/operation/v1/operation_occurrence_service_pb.js';
import { PackageArchiveService } from '../gen/nfv/vnf_snapshot_package/v1/package_archive_pb.js';
import { dataLoss, invalidArgument, isRpcError } from '../sdk/errors.ts';
import { systemRandom } from '../sdk/ports/random.ts';
import { type Archives, transferDeadlineMs } from './archive-upload.ts';
import { follow } from './occurrence.ts';
import { packages, report, type WaitOptions } from './packages.ts';
import { persist } from './persist.ts';
import { ProgressLine } from './progress.ts';
import type { Session } from './session.ts';

type Request = { vnfSnapshotPkgId: string; diskFormat: ImageFormat; prove: boolean };
/** What "<archive>.part.json" holds, so that the same command goes on after it was killed. */
type Begun = { archiveId: string; operation: string; request: Request };

/** Exports to the VNFM's side of a stream, and brings the archive here. Returns the exit code. */
export async function fetchExport(
  session: Session,
  options: WaitOptions,
  request: Request,
  path: string,
): Promise<number> {
  if (!options.wait) {
    const text = '--no-wait: the archive is brought here when it is written; or use --at-server';
    throw invalidArgument('USAGE', text);
  }
  if (await stat(path).catch(() => undefined)) {
    throw invalidArgument('LOCATION_INVALID', `"${path}" exists already`, { location: path });
  }
  const archives = session.client(PackageArchiveService, 'oss');
  const begun = (await earlier(archives, request, path)) ?? (await begin(session, request, path));
  const operations = session.client(OperationOccurrenceService, 'oss');
  const line = new ProgressLine(process.stderr.isTTY === true && !options.json);
  try {
    line.show({ doneBytes: 0, activity: 'the server writes the archive' });
    const { operationState } = await follow(operations, begun.operation, () => {});
    if (operationState === OperationState.COMPLETED) {
      await bring(archives, begun.archiveId, path, line);
      await archives.deletePackageArchive({ archiveId: begun.archiveId });
    }
    await rm(noteOf(path), { force: true });
  } finally {
    line.clear();
  }
  return report(session, begun.operation, options, { archive: path });
}

const noteOf = (path: string) => `${path}.part.json`;

async function begin(session: Session, request: Request, path: string): Promise<Begun> {
  await rm(`${path}.part`, { force: true });
  const archiveId = `export-${systemRandom.uuid()}`;
  const started = await packages(session).exportVnfSnapshotPackage({
    ...request,
    location: `stream:${archiveId}`,
    requestId: archiveId,
  });
  const begun = { archiveId, operation: started.lifecycleOperationOccurrenceId, request };
  await writeFile(noteOf(path), JSON.stringify(begun));
  return begun;
}

/** What an earlier run has begun and the server still has. */
async function earlier(
  archives: Archives,
  request: Request,
  path: string,
): Promise<Begun | undefined> {
  const text = await readFile(noteOf(path), 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  const begun = JSON.parse(text) as Begun;
  if (JSON.stringify(begun.request) !== JSON.stringify(request)) return undefined;
  try {
    await archives.getPackageArchive({ archiveId: begun.archiveId });
    return begun;
  } catch (thrown) {
    if (isRpcError(thrown, 'ARCHIVE_UNKNOWN')) return undefined;
    throw thrown;
  }
}

/** Downloads behind what is here, and gives the file its name when it is what the server has. */
async function bring(
  archives: Archives,
  archiveId: string,
  path: string,
  line: ProgressLine,
): Promise<void> {
  const part = `${path}.part`;
  const file = await open(part, 'a+', 0o600);
  let expected = '';
  try {
    let at = (await file.stat()).size;
    await persist(
      async () => {
        const request = { archiveId, offset: BigInt(at), sha256: expected };
        const options = { deadlineMs: transferDeadlineMs };
        let total = 0;
        for await (const { part } of archives.downloadPackageArchive(request, options)) {
          if (part.case === 'archive') {
            expected = part.value.sha256;
            total = Number(part.value.sizeBytes);
          } else if (part.case === 'content') {
            await file.appendFile(part.value);
            at += part.value.length;
            line.show({ doneBytes: at, totalBytes: total, activity: `fetching ${path}` });
          }
        }
      },
      () => at,
    );
    await file.sync();
    const hash = createHash('sha256');
    for await (const piece of file.createReadStream({ autoClose: false, start: 0 }))
      hash.update(piece);
    const found = hash.digest('hex');
    if (found !== expected) {
      await rm(part);
      const text = `${path} came with SHA-256 ${found} instead of ${expected}: it is taken away, run the command again`;
      throw dataLoss('CHECKSUM_MISMATCH', text, { file: path });
    }
  } finally {
    await file.close();
  }
  await rename(part, path);
}

import { isAbsolute, join } from 'node:path';
import { ImageFormat } from '../../../gen/nfv/common/v1/common_pb.js';
import type {
  ExportPackageRequest,
  ImportPackageRequest,
} from '../../../gen/nfv/repository/v1/repository_pb.js';
import { invalidArgument } from '../../../sdk/errors.ts';
import type { HandlerContext } from '../../../sdk/server.ts';
import { exportArchive } from '../archive/export.ts';
import { importArchive } from '../archive/import.ts';
import type { Signer, TrustOptions } from '../archive/signature.ts';
import type { Store } from '../store/store.ts';
import { archiveReader, archiveWriter } from './archive-package.ts';
import { exportedBefore, exportedBy } from './exported-before.ts';
import { withProgress } from './progress.ts';
import { packageInfo } from './records.ts';

export type ArchiveSettings = { signer?: Signer; trust?: TrustOptions; scratchFolder: string };

/** Writes a package as an archive. */
export async function* exportPackage(
  store: Store,
  settings: ArchiveSettings,
  request: ExportPackageRequest,
  { signal }: HandlerContext,
) {
  requireAbsolute(request.path);
  yield* withProgress(signal, async (report, workSignal) => {
    const earlier = await exportedBefore(request.path, request.call);
    if (earlier) return { case: 'result' as const, value: earlier };
    const reader = await store.openPackage(request.packageId);
    try {
      const qcow2 = request.diskFormat === ImageFormat.QCOW2;
      const archive = await archiveReader(reader, exportedBy(request.call));
      const result = await exportArchive(archive, request.path, {
        imageFormat: (image) => (qcow2 && image.attributes?.role === 'disk' ? 'qcow2' : 'raw.lz4'),
        ...(settings.signer && { signer: settings.signer }),
        ...(request.prove && { prove: 'all' as const }),
        onProgress: ({ file, doneBytes, totalBytes }) =>
          report({ activity: file, doneBytes, totalBytes }),
        signal: AbortSignal.any([workSignal, reader.signal]),
      });
      return {
        case: 'result' as const,
        value: {
          path: result.path,
          sizeBytes: BigInt(result.sizeBytes),
          checksum: { algorithm: 'SHA-256', hash: result.sha256 },
          provenBlocks: BigInt(result.provenBlocks),
        },
      };
    } finally {
      await reader.close();
    }
  });
}

/** Reads an archive into a package. */
export async function* importPackage(
  store: Store,
  settings: ArchiveSettings,
  request: ImportPackageRequest,
  { signal }: HandlerContext,
) {
  requireAbsolute(request.path);
  yield* withProgress(signal, async (report, workSignal) => {
    const { packageId } = await importArchive(
      request.path,
      (about) => archiveWriter(store, about, workSignal),
      {
        scratchFolder: settings.scratchFolder,
        ...(settings.trust && { trust: settings.trust }),
        onProgress: ({ file, doneBytes, totalBytes }) =>
          report({ activity: file, doneBytes, totalBytes }),
        signal: workSignal,
      },
    );
    return { case: 'package' as const, value: packageInfo(await store.manifest(packageId)) };
  });
}

/** Where images that are not LZ4 frames are unpacked during an import. */
export function scratchFolderOf(dataFolder: string): string {
  return join(dataFolder, 'scratch');
}

function requireAbsolute(path: string): void {
  if (isAbsolute(path)) return;
  throw invalidArgument('LOCATION_INVALID', `"${path}" is not an absolute path`, { path });
}

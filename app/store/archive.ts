import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ExportResult, exportArchive } from '../../plugins/repository/archive/export.ts';
import { type ArchiveAbout, importArchive } from '../../plugins/repository/archive/import.ts';
import {
  archiveReader,
  archiveWriter,
  type ImportedPackage,
} from '../../plugins/repository/service/archive-package.ts';
import { describeImage } from './care.ts';
import { secondsSince, withStore } from './with-store.ts';

type Progress = (progress: { file: string; doneBytes: number; totalBytes: number }) => void;

/**
 * Writes a package as a ZIP64 archive, unsigned: there is no certificate authority without a
 * server.
 */
export async function exportFromStore(
  packageId: string,
  path: string,
  options: {
    store: string;
    qcow2?: boolean;
    prove?: boolean;
    /** Go on with what an interrupted export left, and leave it when interrupted. Default true. */
    resume?: boolean;
    onProgress?: Progress;
    signal?: AbortSignal;
  },
): Promise<ExportResult & { package: string; seconds: number }> {
  const startMs = performance.now();
  return await withStore(options.store, {}, async (store) => {
    const reader = await store.openPackage(packageId);
    try {
      const result = await exportArchive(await archiveReader(reader), path, {
        imageFormat: (image) =>
          options.qcow2 && image.attributes?.role === 'disk' ? 'qcow2' : 'raw.lz4',
        resume: options.resume ?? true,
        keepPartial: options.resume ?? true,
        ...(options.prove && { prove: 'all' as const }),
        ...(options.onProgress && { onProgress: options.onProgress }),
        signal: joined(reader.signal, options.signal),
      });
      return { package: packageId, ...result, seconds: secondsSince(startMs) };
    } finally {
      await reader.close();
    }
  });
}

export type ImportFilesResult = {
  package: string;
  signed: boolean;
  /** Bytes of images that an interrupted import had stored. */
  resumedBytes: number;
  /** Why something that it had stored was read again. */
  restartReason?: string;
  images: ReturnType<typeof describeImage>[];
  seconds: number;
};

/** Reads an archive into a store. Everything is checked before anything is published. */
export async function importIntoStore(
  path: string,
  options: { store: string; resume?: boolean; onProgress?: Progress; signal?: AbortSignal },
): Promise<ImportFilesResult> {
  const startMs = performance.now();
  const scratchFolder = await mkdtemp(join(tmpdir(), 'mano-import-'));
  try {
    return await withStore(options.store, { create: true }, async (store) => {
      const signal = options.signal ?? new AbortController().signal;
      let filled: ImportedPackage | undefined;
      const open = async (found: ArchiveAbout) => {
        filled = await archiveWriter(store, found, signal, options.resume);
        return filled;
      };
      const { packageId, about } = await importArchive(path, open, {
        scratchFolder,
        signal,
        ...(options.onProgress && { onProgress: options.onProgress }),
      });
      const { resumedBytes = 0, restartReason } = filled ?? {};
      return {
        package: packageId,
        signed: about.signature.signed,
        images: (await store.manifest(packageId)).images.map(describeImage),
        resumedBytes,
        ...(restartReason !== undefined && { restartReason }),
        seconds: secondsSince(startMs),
      };
    });
  } finally {
    await rm(scratchFolder, { recursive: true, force: true });
  }
}

function joined(a: AbortSignal, b: AbortSignal | undefined): AbortSignal {
  return b === undefined ? a : AbortSignal.any([a, b]);
}

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ExportResult, exportArchive } from '../../plugins/repository/archive/export.ts';
import { importArchive } from '../../plugins/repository/archive/import.ts';
import { archiveReader, archiveWriter } from '../../plugins/repository/service/archive-package.ts';
import { withStore } from './with-store.ts';

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
    onProgress?: Progress;
    signal?: AbortSignal;
  },
): Promise<ExportResult> {
  return await withStore(options.store, {}, async (store) => {
    const reader = await store.openPackage(packageId);
    try {
      return await exportArchive(await archiveReader(reader), path, {
        imageFormat: (image) =>
          options.qcow2 && image.attributes?.role === 'disk' ? 'qcow2' : 'raw.lz4',
        ...(options.prove && { prove: 'all' as const }),
        ...(options.onProgress && { onProgress: options.onProgress }),
        signal: joined(reader.signal, options.signal),
      });
    } finally {
      await reader.close();
    }
  });
}

/** Reads an archive into a store. Everything is checked before anything is published. */
export async function importIntoStore(
  path: string,
  options: { store: string; onProgress?: Progress; signal?: AbortSignal },
): Promise<{ package: string; signed: boolean }> {
  const scratchFolder = await mkdtemp(join(tmpdir(), 'mano-import-'));
  try {
    return await withStore(options.store, { create: true }, async (store) => {
      const signal = options.signal ?? new AbortController().signal;
      const { packageId, about } = await importArchive(
        path,
        (found) => archiveWriter(store, found, signal),
        { scratchFolder, signal, ...(options.onProgress && { onProgress: options.onProgress }) },
      );
      return { package: packageId, signed: about.signature.signed };
    });
  } finally {
    await rm(scratchFolder, { recursive: true, force: true });
  }
}

function joined(a: AbortSignal, b: AbortSignal | undefined): AbortSignal {
  return b === undefined ? a : AbortSignal.any([a, b]);
}

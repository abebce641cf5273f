import { type FileHandle, mkdir, open, rm } from 'node:fs/promises';
import { resourceExhausted } from '../../../sdk/errors.ts';
import { sliceBytes } from './limits.ts';
import { writeBlocks } from './machine/sparse-copy.ts';

const fullCodes = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);

/** Names a full disk for what it is; anything else stays as it was thrown. */
export function fileError(thrown: unknown): unknown {
  const { code, message, path } = thrown as NodeJS.ErrnoException;
  // A failpoint stands in for the disk: its text begins with the code.
  const full = fullCodes.has(code ?? '') || (message ?? '').startsWith('ENOSPC');
  if (!(thrown instanceof Error) || !full) return thrown;
  const text = `the disk of the driver is full: ${message}; make room, then retry`;
  return resourceExhausted('STORE_FULL', text, path ? { path } : {});
}

/** Makes a file's content durable. */
export async function syncFile(path: string): Promise<void> {
  await withFile(path, 'r+', (file) => file.sync());
}

/** Makes the names in a folder durable. */
export async function syncFolder(path: string): Promise<void> {
  await withFile(path, 'r', (folder) => folder.sync());
}

/** Writes a new file, with holes where the bytes are zero. Nothing is synced. */
export async function writeNew(path: string, bytes: Uint8Array): Promise<void> {
  await withFile(path, 'wx', async (file) => {
    await file.truncate(bytes.length);
    for (let offset = 0; offset < bytes.length; offset += sliceBytes) {
      writeBlocks(file.fd, bytes.subarray(offset, offset + sliceBytes), offset);
      await new Promise((resolve) => setImmediate(resolve));
    }
  });
}

/** Makes a folder for the owner alone. */
export async function makeFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
}

/** Removes a file or a folder with all it has; nothing to do when it is not there. */
export async function remove(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true });
}

async function withFile<T>(
  path: string,
  flags: string,
  work: (file: FileHandle) => Promise<T>,
): Promise<T> {
  const file = await open(path, flags, 0o600);
  try {
    return await work(file);
  } finally {
    await file.close();
  }
}

/** Runs a copy to its end, with other work of this thread between its slices. */
export async function inSlices(steps: Generator<void, void>): Promise<void> {
  while (!steps.next().done) await new Promise((resolve) => setImmediate(resolve));
}

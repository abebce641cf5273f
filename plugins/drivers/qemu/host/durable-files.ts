import { constants } from 'node:fs';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { runTool } from './process.ts';

/** Copies of guest memory run at disk speed; this is for a slow disk and 64 GiB. */
const copyDeadlineMs = 600_000;

async function withHandle(path: string, flags: number, use: (file: FileHandle) => Promise<void>) {
  const file = await open(path, flags);
  try {
    await use(file);
  } finally {
    await file.close();
  }
}

/** Makes the content of a file durable. */
export function syncFile(path: string): Promise<void> {
  return withHandle(path, constants.O_RDONLY, (file) => file.sync());
}

/** Makes the names in a folder durable. */
export function syncFolder(path: string): Promise<void> {
  return withHandle(path, constants.O_RDONLY | constants.O_DIRECTORY, (file) => file.sync());
}

/** Renames durably: after it, a crash shows the new name. */
export async function renameDurably(from: string, to: string): Promise<void> {
  await rename(from, to);
  await syncFolder(dirname(to));
}

/**
 * Copies a file, holes as holes; shares the blocks where the file system can. The target must not
 * exist.
 */
export async function copySparse(from: string, to: string): Promise<void> {
  try {
    const args = ['--reflink=auto', '--sparse=always', '--no-target-directory', '--', from, to];
    await runTool('cp', args, copyDeadlineMs);
  } catch (error) {
    await rm(to, { force: true });
    throw error;
  }
}

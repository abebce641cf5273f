import { execFileSync, spawnSync } from 'node:child_process';
import { type FileHandle, mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { skipUnless } from './require-tool.ts';
import { tempFolder } from './temp-folder.ts';

/** The folder of a file system of that size, or undefined where mounting is not allowed. */
export async function smallFileSystem(
  t: ExecutionContext,
  sizeBytes: number,
): Promise<string | undefined> {
  if (!skipUnless(t, 'mount', 'umount')) return undefined;
  const folder = join(await tempFolder(t), 'small');
  await mkdir(folder);
  const mount = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${sizeBytes}`, 'tmpfs', folder]);
  if (mount.status !== 0) {
    const text = `skipped: ${t.title}: may not mount: ${mount.stderr}`;
    if (process.env.CI === 'true') t.fail(text);
    else {
      t.log(text);
      t.pass(text);
    }
    return undefined;
  }
  t.teardown(() => execFileSync('umount', [folder]));
  return folder;
}

/**
 * Takes all the space that is left on the file system of a path; the function that is returned
 * gives it back.
 */
export async function fillUp(path: string): Promise<() => Promise<void>> {
  const file = await open(path, 'w');
  try {
    for (const bytes of [65536, 4096]) {
      while (await wrote(file, bytes));
    }
  } finally {
    await file.close();
  }
  return () => rm(path);
}

async function wrote(file: FileHandle, bytes: number): Promise<boolean> {
  try {
    return (await file.write(Buffer.alloc(bytes, 1))).bytesWritten === bytes;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOSPC') return false;
    throw error;
  }
}

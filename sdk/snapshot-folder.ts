/** Keeping the files of a snapshot in a folder of the caller (GR NFV-TST 005 table 5.1.3.2-1, "path"): for drivers. */
import { randomBytes } from 'node:crypto';
import { lstatSync, readlinkSync } from 'node:fs';
import {
  access,
  constants,
  mkdir,
  open,
  readdir,
  readlink,
  realpath,
  rm,
  rmdir,
  symlink,
} from 'node:fs/promises';
import { dirname, isAbsolute, join, sep } from 'node:path';
import { failedPrecondition, invalidArgument } from './errors.ts';

/**
 * Where a caller's folder really is. It must exist, and lie in or below one that is allowed, links
 * resolved. INVALID_ARGUMENT with reason FIELD_VIOLATION; FAILED_PRECONDITION with reason
 * FOLDER_UNUSABLE or FOLDER_NOT_ALLOWED.
 */
export async function callersFolder(folder: string, allowed: readonly string[]): Promise<string> {
  if (!isAbsolute(folder)) {
    throw invalidArgument('FIELD_VIOLATION', `folder: "${folder}" must be an absolute path`, {
      field: 'folder',
    });
  }
  const real = await usable(folder);
  for (const item of allowed) {
    const root = await realpath(item).catch(() => undefined);
    if (root !== undefined && isWithin(real, root)) return real;
  }
  const known = allowed.join(', ') || 'none (configuration key snapshotFolders)';
  const text = `folder: "${folder}" is not in or below one that this driver may use: ${known}`;
  throw failedPrecondition('FOLDER_NOT_ALLOWED', text, { folder, known });
}

async function usable(folder: string): Promise<string> {
  try {
    const real = await realpath(folder);
    await access(join(real, '.'), constants.W_OK);
    return real;
  } catch (error) {
    const text = `folder: "${folder}" cannot be used: ${(error as Error).message}`;
    throw failedPrecondition('FOLDER_UNUSABLE', text, { folder });
  }
}

/** Whether a path is a folder or lies below it; both without links and dots. */
export function isWithin(path: string, root: string): boolean {
  return path === root || path.startsWith(root.endsWith(sep) ? root : root + sep);
}

/**
 * Makes `path`, in the driver's own folder, a link to a new folder in the caller's. The link comes
 * first: what a crash leaves can be found by it. Its name is nobody else's.
 */
export async function linkToNewFolder(
  path: string,
  folder: string,
  snapshotId: string,
): Promise<void> {
  const target = join(folder, `${snapshotId}-${randomBytes(4).toString('hex')}`);
  await symlink(target, path);
  await syncFolder(dirname(path));
  await mkdir(target, { mode: 0o700 });
  await syncFolder(folder);
}

/**
 * Removes a folder, or a link and the folder that it leads to; files there that `isKept` names stay,
 * and with them that folder.
 */
export async function removeLinked(
  path: string,
  isKept: (path: string) => boolean = () => false,
): Promise<void> {
  const target = await targetOf(path);
  if (target === undefined) return rm(path, { recursive: true, force: true });
  for (const name of await namesIn(target)) {
    const file = join(target, name);
    if (!isKept(file)) await rm(file, { force: true });
  }
  await removeEmpty(target);
  await rm(path, { force: true });
}

/** Removes a file, or a link, the file that it leads to, and the folder of that when it is empty then. */
export async function removeLinkedFile(path: string): Promise<void> {
  const target = await targetOf(path);
  if (target !== undefined) {
    await rm(target, { force: true });
    await removeEmpty(dirname(target));
  }
  await rm(path, { force: true });
}

/** Where a file is: where the link leads, if it is one. */
export function placeOf(path: string): string {
  return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() ? readlinkSync(path) : path;
}

function targetOf(path: string): Promise<string | undefined> {
  // EINVAL: it is no link; ENOENT: it is not there.
  return readlink(path).catch(() => undefined);
}

function namesIn(folder: string): Promise<string[]> {
  return readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
}

async function removeEmpty(folder: string): Promise<void> {
  await rmdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOTEMPTY' && error.code !== 'ENOENT') throw error;
  });
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

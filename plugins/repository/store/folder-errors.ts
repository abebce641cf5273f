/**
 * Turns what the operating system says about the store's folder into errors that tell what to do.
 */
import {
  alreadyExists,
  failedPrecondition,
  permissionDenied,
  RpcError,
  resourceExhausted,
  unavailable,
} from '../../../sdk/errors.ts';

/** True for an error of the operating system with one of these codes. */
export function hasCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && codes.includes((error as NodeJS.ErrnoException).code ?? '');
}

/** The error for `path`; `bytes` is how much was to be written, 0 for everything else. */
export function toStoreError(error: unknown, path: string, bytes = 0): RpcError {
  if (error instanceof RpcError) return error;
  const code = (error as NodeJS.ErrnoException).code ?? 'UNKNOWN';
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    const text = `no space for ${bytes} bytes at ${path}: free some, or delete packages and run gc`;
    return resourceExhausted('STORE_FULL', text, { path, bytes: String(bytes) });
  }
  if (code === 'EEXIST') return alreadyExists('OBJECT_EXISTS', `${path} exists already`, { path });
  if (code === 'EACCES' || code === 'EROFS') {
    return permissionDenied('STORE_ACCESS_DENIED', `${path}: ${code}: give this user access`, {
      path,
      code,
    });
  }
  if (code === 'EPERM' || code === 'ENOTSUP' || code === 'EOPNOTSUPP') {
    const text = `${path}: ${code}: the store needs a file system with hard links and fsync`;
    return failedPrecondition('STORE_UNSUPPORTED', text, { path, code });
  }
  if (code === 'ENOTDIR') {
    const text = `${path}: a part of this path is a file: name the folder of a repository`;
    return failedPrecondition('NOT_A_REPOSITORY', text, { path, code });
  }
  return unavailable('STORE_IO_FAILED', `${path}: ${(error as Error).message}`, { path, code });
}

/** Runs `work`, and turns what it throws into an error about `path`. */
export async function onPath<T>(path: string, work: () => Promise<T>, bytes = 0): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw toStoreError(error, path, bytes);
  }
}

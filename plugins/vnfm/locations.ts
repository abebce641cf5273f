import { realpath } from 'node:fs/promises';
import { basename, dirname, isAbsolute, normalize, sep } from 'node:path';
import { invalidArgument, type RpcError } from '../../sdk/errors.ts';

/**
 * Checks where an archive is to be written: an absolute path, in an allowed folder also when
 * symbolic links are followed. Returns the path without links in its folder. INVALID_ARGUMENT with
 * reason LOCATION_INVALID.
 */
export async function checkTarget(location: string, folders: readonly string[]): Promise<string> {
  const path = checkShape(location);
  const name = basename(path);
  if (name === '' || location.endsWith(sep)) throw invalid(location, 'must name a file');
  const folder = await resolve(dirname(path), location);
  return checkFolder(folder === sep ? sep + name : folder + sep + name, location, folders);
}

/** Checks where an archive is to be read from, in the same way. */
export async function checkSource(location: string, folders: readonly string[]): Promise<string> {
  const path = await resolve(checkShape(location), location);
  return checkFolder(path, location, folders);
}

function checkShape(location: string): string {
  if (!isAbsolute(location)) throw invalid(location, 'must be an absolute path');
  if (location.includes('\0')) throw invalid(location, 'must not contain a zero byte');
  if (location.split(sep).includes('..')) throw invalid(location, 'must not contain ".."');
  return normalize(location);
}

async function resolve(path: string, location: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException;
    throw invalid(
      location,
      code === 'ENOENT' ? `"${path}" does not exist` : `${code} at "${path}"`,
    );
  }
}

async function checkFolder(
  path: string,
  location: string,
  folders: readonly string[],
): Promise<string> {
  if (folders.length === 0) {
    throw invalid(location, 'the VNFM has no folder for archives; configure packageFolders');
  }
  for (const folder of folders) {
    // A folder that is not there yet allows nothing.
    const real = await realpath(folder).catch(() => undefined);
    if (real === undefined) continue;
    if (path.startsWith(real.endsWith(sep) ? real : real + sep)) return path;
  }
  throw invalid(location, `is not in one of the VNFM's folders: ${folders.join(', ')}`);
}

function invalid(location: string, why: string): RpcError {
  return invalidArgument('LOCATION_INVALID', `location "${location}": ${why}`, { location }, [
    { field: 'location', description: why },
  ]);
}

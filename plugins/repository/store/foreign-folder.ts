import { readdir } from 'node:fs/promises';
import { failedPrecondition } from '../../../sdk/errors.ts';
import { hasCode, toStoreError } from './folder-errors.ts';
import { prefixes, reserveName } from './object-names.ts';

/** NOT_A_REPOSITORY (FAILED_PRECONDITION) for a folder with other content than a repository's. */
export async function refuseForeignFolder(folder: string): Promise<void> {
  const prefixed = prefixes.map((prefix) => prefix.slice(0, -1));
  // Creating it may have been interrupted after the reserve was made.
  const own = new Set([...prefixed, 'cache', 'tmp', 'lost+found', reserveName]);
  let names: string[];
  try {
    names = await readdir(folder);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return;
    throw toStoreError(error, folder);
  }
  const foreign = names.find((name) => !own.has(name));
  if (foreign === undefined) return;
  const text = `${folder} has other content ("${foreign}"): name an empty or new folder`;
  throw failedPrecondition('NOT_A_REPOSITORY', text, { path: folder, found: foreign });
}

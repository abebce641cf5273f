import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';

/** A folder for one test, removed with all that is in it when the test ends. */
export async function tempFolder(t: ExecutionContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'micromano-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

import { writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';

export const projectFolder = join(import.meta.dirname, '..');
/** Those of the launcher. */
export const nodeFlags = [
  '--disable-warning=ExperimentalWarning',
  '--single-threaded-gc',
  '--min-semi-space-size=2',
  '--max-semi-space-size=2',
];
const compileCache = resolve(
  process.env.NODE_COMPILE_CACHE ?? join(projectFolder, 'build/compile-cache'),
);

/**
 * Writes a script that starts `mano` as the launcher does, without its look whether the set-up is
 * current. Returns what scripts of peers find in their environment.
 */
export async function writeProgram(folder: string): Promise<Record<string, string>> {
  const path = join(folder, 'mano');
  const words = [process.execPath, ...nodeFlags, join(projectFolder, 'cli/main.ts')];
  await writeFile(path, `#!/bin/sh\nexec ${words.map(quote).join(' ')} "$@"\n`, { mode: 0o755 });
  return {
    MANO: path,
    BENCH: join(projectFolder, 'bench'),
    NODE_COMPILE_CACHE: compileCache,
    LC_ALL: 'C',
  };
}

function quote(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

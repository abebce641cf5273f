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
 * Writes scripts that start `mano` and Node as the launcher does, without its look whether the set-up is
 * current. Returns what scripts of peers find in their environment.
 */
export async function writeProgram(folder: string): Promise<Record<string, string>> {
  const node = [process.execPath, ...nodeFlags];
  const program = async (name: string, words: readonly string[]) => {
    const path = join(folder, name);
    await writeFile(path, `#!/bin/sh\nexec ${words.map(quote).join(' ')} "$@"\n`, { mode: 0o755 });
    return path;
  };
  return {
    MANO: await program('mano', [...node, join(projectFolder, 'cli/main.ts')]),
    NODE: await program('node', node),
    BENCH: join(projectFolder, 'bench'),
    NODE_COMPILE_CACHE: compileCache,
    LC_ALL: 'C',
  };
}

function quote(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

/** A tiny corpus of the project's own dependencies, for runs that prove that everything is right. */
import { open, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { GivenImages } from '../images.ts';
import { projectFolder } from '../program.ts';

const mib = 1024 * 1024;
const diskBytes = 24 * mib;

/** A disk, the same with a change in every twentieth block, and a memory image. */
export async function makeSmokeCorpus(folder: string): Promise<GivenImages> {
  const text = await content();
  const first = await write(join(folder, 'first.raw'), text);
  const changed = Buffer.from(text);
  for (let at = 0; at < changed.length; at += 20 * 65536) changed.write('changed', at + 100);
  const next = await write(join(folder, 'next.raw'), changed);
  const memory = await write(join(folder, 'memory.raw'), text.subarray(4 * mib).toReversed());
  return { first, next, memory };
}

async function content(): Promise<Buffer> {
  const library = join(projectFolder, 'node_modules/typescript/lib');
  const pieces: Buffer[] = [];
  let bytes = 0;
  for (const name of (await readdir(library)).sort()) {
    if (!name.endsWith('.js')) continue;
    const piece = await readFile(join(library, name));
    pieces.push(piece);
    bytes += piece.length;
    if (bytes > diskBytes / 2) break;
  }
  return Buffer.concat(pieces).subarray(0, diskBytes / 2);
}

async function write(path: string, bytes: Uint8Array): Promise<string> {
  const file = await open(path, 'w');
  try {
    // Half of it is a hole.
    await file.write(bytes, 0, bytes.length, 0);
    await file.truncate(diskBytes);
    await file.sync();
  } finally {
    await file.close();
  }
  return path;
}

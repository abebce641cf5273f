import { createHash } from 'node:crypto';
import { open, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { failpoint } from '../../../sdk/failpoint.ts';
import { makeFolder, syncFile, syncFolder } from './files.ts';
import { unknown } from './inventory.ts';
import { programBytesMax } from './limits.ts';
import { inspectProgram, type ProgramFacts } from './program/fitness.ts';
import { imageUnfit } from './program/sections.ts';

/**
 * Finds images by name, and keeps the programs of guests: a guest always runs the bytes it was made
 * with.
 */
export class Images {
  readonly #folders: readonly string[];
  readonly #programs: string;

  /** `programs`: a folder of the driver's own, in which programs are named by their SHA-256. */
  constructor(folders: readonly string[], programs: string) {
    this.#folders = folders;
    this.#programs = programs;
  }

  programPath(programId: string): string {
    return join(this.#programs, `${programId}.wasm`);
  }

  /** The path and the size of an image. NOT_FOUND with reason IMAGE_UNKNOWN. */
  async find(name: string): Promise<{ path: string; sizeBytes: number }> {
    // The name was checked against its pattern, so it has no separator and is no "..".
    for (const folder of this.#folders) {
      const path = join(folder, name);
      const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
        throw error;
      });
      if (found?.isFile()) return { path, sizeBytes: found.size };
    }
    return unknown('IMAGE_UNKNOWN', 'image', name);
  }

  /**
   * Checks the program of an image and keeps a durable copy. INVALID_ARGUMENT with reason
   * IMAGE_UNFIT.
   */
  async adopt(name: string): Promise<{ programId: string; program: ProgramFacts }> {
    const { path, sizeBytes } = await this.find(name);
    if (sizeBytes > programBytesMax) {
      throw imageUnfit(`the image ${name} has ${sizeBytes} bytes, over ${programBytesMax}`);
    }
    const bytes = await readAll(path, sizeBytes);
    const program = inspectProgram(bytes);
    if (!WebAssembly.validate(bytes))
      throw imageUnfit(`the image ${name} is not valid WebAssembly`);
    const programId = createHash('sha256').update(bytes).digest('hex');
    await this.#keep(programId, bytes);
    return { programId, program };
  }

  async #keep(programId: string, bytes: Uint8Array): Promise<void> {
    const path = this.programPath(programId);
    if (await stat(path).catch(() => undefined)) return;
    await makeFolder(this.#programs);
    const temporary = `${path}.${process.hrtime.bigint()}.tmp`;
    await writeFile(temporary, bytes, { flag: 'wx', mode: 0o600 });
    await syncFile(temporary);
    await failpoint('wasmvm.program.before-rename');
    await rename(temporary, path);
    await syncFolder(this.#programs);
  }
}

async function readAll(path: string, sizeBytes: number): Promise<Uint8Array<ArrayBuffer>> {
  const file = await open(path, 'r');
  try {
    const bytes = new Uint8Array(sizeBytes);
    const { bytesRead } = await file.read(bytes, 0, sizeBytes, 0);
    return bytes.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

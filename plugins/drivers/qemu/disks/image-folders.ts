import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { access, mkdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { failedPrecondition, notFound } from '../../../../sdk/errors.ts';
import { KeyedLock } from '../../../../sdk/keyed-lock.ts';
import { copySparse, renameDurably, syncFile } from '../host/durable-files.ts';
import { type Format, imageInfo } from './qemu-img.ts';

/** What a machine image says about itself, in NAME.json beside its files. */
export type MachineImage = {
  kernel?: { path: string; initrdPath: string; commandLine: string };
  memoryMib: number;
  guestAgent: boolean;
  vnfChannel: boolean;
};

export type DiskImage = { path: string; format: Format; sizeBytes: number; digest: string };

const memoryMibDefault = 128;
const digestsMax = 256;

/**
 * Finds images by name in the folders that the operator named, and copies what a machine uses into
 * the driver's own folder, named by content: an image that is rebuilt later never changes under a
 * running machine.
 */
export class ImageFolders {
  readonly #sources: string[];
  readonly #copies: string;
  readonly #locks = new KeyedLock();
  /** Digests by path, size and time of change: hashing a large image takes seconds. */
  readonly #digests = new Map<string, string>();
  constructor(sources: string[], copies: string) {
    this.#sources = sources;
    this.#copies = copies;
  }

  /** NOT_FOUND reason IMAGE_UNKNOWN with the folders that were searched. */
  async machineImage(name: string): Promise<MachineImage> {
    const { path, folder } = await this.#find(name, ['json']);
    let text: Record<string, unknown>;
    try {
      text = JSON.parse(await readFile(path, 'utf8'));
    } catch (error) {
      throw failedPrecondition('IMAGE_INVALID', `${path}: ${String(error)}`, { image: name });
    }
    const { kernel, initrd } = text;
    const plainNames = [kernel, initrd].every(
      (file) => file === undefined || (typeof file === 'string' && /^[\w.-]+$/.test(file)),
    );
    if (!plainNames || (kernel === undefined) !== (initrd === undefined)) {
      const want = 'kernel and initrd must both be names of files in the same folder, or be absent';
      throw failedPrecondition('IMAGE_INVALID', `${path}: ${want}`, { image: name });
    }
    return {
      memoryMib: Number(text.memoryMib ?? memoryMibDefault),
      guestAgent: text.guestAgent === true,
      vnfChannel: text.vnfChannel === true,
      ...(typeof kernel === 'string' && typeof initrd === 'string'
        ? {
            kernel: {
              path: (await this.#copy(join(folder, kernel))).path,
              initrdPath: (await this.#copy(join(folder, initrd))).path,
              commandLine: String(text.commandLine ?? ''),
            },
          }
        : {}),
    };
  }

  /**
   * A disk image by name. FAILED_PRECONDITION reason IMAGE_INVALID when it leans on another file.
   */
  async diskImage(name: string): Promise<DiskImage> {
    const { path, extension } = await this.#find(name, ['qcow2', 'raw']);
    const format = extension as Format;
    const info = await imageInfo(path, format);
    if (info.hasBacking) {
      const text = `${path} leans on another file; flatten it with qemu-img convert`;
      throw failedPrecondition('IMAGE_INVALID', text, { image: name });
    }
    const copy = await this.#copy(path);
    return { ...copy, format, sizeBytes: info.sizeBytes };
  }

  async #find(name: string, extensions: string[]) {
    for (const folder of this.#sources) {
      for (const extension of extensions) {
        const path = join(folder, `${name}.${extension}`);
        const found = await access(path).then(
          () => true,
          () => false,
        );
        if (found) return { path, folder, extension };
      }
    }
    const text =
      `there is no image "${name}" (${extensions.map((e) => `.${e}`).join(', ')}) in ` +
      `${this.#sources.join(', ')}; the demo guest is built by ./mano setup --system`;
    throw notFound('IMAGE_UNKNOWN', text, { image: name });
  }

  #copy(path: string): Promise<{ path: string; digest: string }> {
    return this.#locks.run('copy', () => this.#copyOnce(path));
  }

  async #copyOnce(path: string): Promise<{ path: string; digest: string }> {
    const { size, mtimeMs, ino } = await stat(path);
    const key = JSON.stringify([path, size, mtimeMs, ino]);
    const digest = this.#digests.get(key) ?? (await digestOf(path));
    if (this.#digests.size >= digestsMax) this.#digests.clear();
    this.#digests.set(key, digest);
    const target = join(this.#copies, digest);
    const exists = await access(target).then(
      () => true,
      () => false,
    );
    if (exists) return { path: target, digest };
    await mkdir(this.#copies, { recursive: true, mode: 0o700 });
    const temporary = `${target}.${process.pid}.tmp`;
    await rm(temporary, { force: true });
    await copySparse(path, temporary);
    await syncFile(temporary);
    await renameDurably(temporary, target);
    return { path: target, digest };
  }
}

async function digestOf(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}

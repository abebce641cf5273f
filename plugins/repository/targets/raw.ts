import assert from 'node:assert/strict';
import { type DataRange, dataRanges } from '../sources/data-ranges.ts';
import { NewFile } from './new-file.ts';
import type { BlockTarget, KeptFile } from './target.ts';

const blockBytes = 65536;

/**
 * A raw image; what is not written becomes a hole. `sizeBytes` is the size of the image. With a
 * `tag` (see NewFile) a file that was begun is gone on with.
 */
export async function createRaw(
  path: string,
  sizeBytes: number,
  tag?: string,
): Promise<BlockTarget & { readonly fd: number }> {
  const file = await NewFile.create(path, tag);
  return {
    fd: file.fd,
    ...(file.keptBytes > 0 && { kept: new KeptRaw(file, sizeBytes) }),
    async write(offset, bytes) {
      assert(offset >= 0 && offset + bytes.length <= sizeBytes, 'a write outside of the image');
      await file.write(offset, bytes);
    },
    async finish() {
      await file.truncate(sizeBytes);
      await file.publish();
    },
    abort: () => file.abort(),
    suspend: () => file.suspend(),
  };
}

/** Blocks lie at their offsets, and holes are where the file has no data. */
class KeptRaw implements KeptFile {
  readonly #file: NewFile;
  readonly #sizeBytes: number;
  readonly #ranges: AsyncIterator<DataRange>;
  #range: DataRange | undefined = { start: 0, end: 0 };

  constructor(file: NewFile, sizeBytes: number) {
    this.#file = file;
    this.#sizeBytes = sizeBytes;
    const known = { fd: file.fd, sizeBytes: file.keptBytes };
    this.#ranges = dataRanges(known).ranges[Symbol.asyncIterator]();
  }

  async locate(first: number, count: number, present?: readonly boolean[]) {
    const offset = first * blockBytes;
    const end = Math.min(offset + count * blockBytes, this.#sizeBytes);
    if (present === undefined) return (await this.#hasData(offset, end)) ? undefined : [];
    if (end > this.#file.keptBytes) return undefined;
    return [{ fd: this.#file.fd, fileOffset: offset, bufferOffset: 0, length: end - offset }];
  }

  /** Then everything behind is a hole again. */
  async endAt(block: number): Promise<void> {
    await this.#ranges.return?.();
    await this.#file.truncate(Math.min(block * blockBytes, this.#sizeBytes));
  }

  async #hasData(start: number, end: number): Promise<boolean> {
    while (this.#range !== undefined && this.#range.end <= start) {
      this.#range = (await this.#ranges.next()).value as DataRange | undefined;
    }
    return this.#range !== undefined && this.#range.start < end;
  }
}

import { dataRanges } from './data-ranges.ts';
import { type OpenFile, openFile, truncated } from './open-file.ts';
import type { BlockSource, ByteRange, FileExtent, SourceExtent } from './source.ts';

/** A raw image: the bytes of the file are the bytes of the disk, its holes are zeros. */
export interface RawSource extends BlockSource {
  /**
   * How the holes were found (`seek`) or why they were not (`whole:<reason>`); set after `extents`.
   */
  readonly holeOrigin: string | undefined;
}

export type RawOptions = {
  /** The size that the image must have: a shorter file is DATA_LOSS `SOURCE_TRUNCATED`. */
  sizeBytes?: number;
  /** The Perl that asks the kernel for holes. */
  perl?: string;
};

export async function openRaw(path: string, options: RawOptions = {}): Promise<RawSource> {
  const file = await openFile(path);
  const wanted = options.sizeBytes ?? file.sizeBytes;
  if (file.sizeBytes < wanted) {
    await file.close();
    throw truncated(path, file.sizeBytes);
  }
  return new OpenRaw(file, wanted, options.perl);
}

class OpenRaw implements RawSource {
  readonly name: string;
  readonly sizeBytes: number;
  holeOrigin: string | undefined;
  readonly #file: OpenFile;
  readonly #perl: string | undefined;

  constructor(file: OpenFile, sizeBytes: number, perl?: string) {
    this.#file = file;
    this.#perl = perl;
    this.name = file.path;
    this.sizeBytes = sizeBytes;
  }

  async *extents(within?: readonly ByteRange[]): AsyncGenerator<SourceExtent> {
    const { ranges, origin } = dataRanges(this.#file, this.#perl, within);
    let offset = 0;
    for await (const range of ranges) {
      const start = Math.min(range.start, this.sizeBytes);
      const end = Math.min(range.end, this.sizeBytes);
      if (start > offset) yield { offset, length: start - offset, kind: 'zero' };
      if (end > start) yield { offset: start, length: end - start, kind: 'data' };
      offset = end;
    }
    if (offset < this.sizeBytes) {
      yield { offset, length: this.sizeBytes - offset, kind: 'zero' };
    }
    this.holeOrigin = origin();
  }

  fileExtents(offset: number, length: number): FileExtent[] {
    const inside = Math.min(length, this.sizeBytes - offset);
    if (inside <= 0) return [];
    return [{ fd: this.#file.fd, fileOffset: offset, bufferOffset: 0, length: inside }];
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    const inside = Math.max(0, Math.min(target.length, this.sizeBytes - offset));
    if (inside > 0) await this.#file.read(offset, target.subarray(0, inside));
    target.fill(0, inside);
  }

  fingerprint(): Promise<string | undefined> {
    return this.#file.fingerprint();
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

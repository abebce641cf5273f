import { cutRunBytes } from '../../../wasm/host/cut.ts';
import type { ContentRun, ImageReader } from '../store/image-reader.ts';
import type { DiskExtent, DiskRead, ServedDisk } from './disk.ts';

/** Runs that stay decoded, 4 MiB each: what reads on, and what reads elsewhere meanwhile. */
const runsKeptMax = 4;

/** An image that is cut by content, as a read-only disk: whoever reads a byte has its run decoded. */
export class ContentDisk implements ServedDisk {
  readonly sizeBytes: number;
  readonly #image: ImageReader;
  /** The one used last at the end. */
  readonly #runs = new Map<number, Promise<ContentRun>>();

  constructor(image: ImageReader) {
    this.sizeBytes = image.record.logicalBytes;
    this.#image = image;
  }

  async read(offset: number, length: number): Promise<DiskRead> {
    const parts: DiskRead['parts'] = [];
    for (let at = offset; at < offset + length; ) {
      const run = await this.#run(Math.floor(at / cutRunBytes));
      const start = at - run.offset;
      const part = Math.min(run.length - start, offset + length - at);
      const bytes = run.bytes?.subarray(start, start + part);
      parts.push(bytes === undefined ? { length: part } : { length: part, bytes });
      at += part;
    }
    return { parts, release: () => undefined };
  }

  async *extents(offset: number, length: number): AsyncGenerator<DiskExtent> {
    yield* this.#image.runExtents(offset, length);
  }

  #run(index: number): Promise<ContentRun> {
    const run = this.#runs.get(index) ?? this.#image.contentRun(index);
    this.#runs.delete(index);
    this.#runs.set(index, run);
    // A damaged one is read again by the next who asks.
    run.catch(() => this.#runs.delete(index));
    if (this.#runs.size > runsKeptMax) this.#runs.delete(this.#runs.keys().next().value!);
    return run;
  }
}

/**
 * A package that is put together piece by piece: images read one after the other, images that other
 * packages have, files.
 */
import { notFound } from '../../../sdk/errors.ts';
import type { Lease } from './lease.ts';
import type { ImageRecord, Manifest } from './manifest.ts';
import { imageNameProblem } from './manifest-rules.ts';
import {
  draftImage,
  draftManifest,
  type ImageInput,
  type PackOptions,
  Progress,
  packOne,
  refuse,
} from './pack.ts';
import type { PackResume } from './pack-resume.ts';
import type { NewFile, PackageWriter } from './package-writer.ts';
import { pinPackage } from './pinned-package.ts';
import type { StoreContext } from './store-context.ts';

export type CompositionOptions = Pick<
  PackOptions,
  'name' | 'kind' | 'labels' | 'parent' | 'compress' | 'signal'
> & {
  packageId: string;
  createdAt?: Date;
  /** Says what the images come from: a run with the same text goes on where an earlier one was. */
  identity?: string;
  /** As in `PackOptions`. */
  resume?: boolean;
};

/**
 * OPEN → PUBLISHED or ABORTED. Until PUBLISHED nothing is listed. Not to be used by two callers at
 * once.
 */
export class Composition {
  private readonly context: StoreContext;
  private readonly lease: Lease;
  private readonly writer: PackageWriter;
  private readonly options: CompositionOptions;
  private readonly resume: PackResume | undefined;
  private readonly end: () => Promise<void>;
  private readonly manifest: Manifest;

  constructor(parts: {
    context: StoreContext;
    lease: Lease;
    writer: PackageWriter;
    options: CompositionOptions;
    resume?: PackResume | undefined;
    end: () => Promise<void>;
  }) {
    this.context = parts.context;
    this.lease = parts.lease;
    this.writer = parts.writer;
    this.options = parts.options;
    this.resume = parts.resume;
    this.end = parts.end;
    const { packageId, createdAt = parts.context.clock.now() } = parts.options;
    this.manifest = draftManifest([], parts.options, packageId, createdAt);
    this.resume?.start(this.writer, packageId);
  }

  /** Reads and stores an image. `onBytes` gets the bytes of the image done since the last call. */
  async addImage(given: ImageInput, onBytes?: (bytes: number) => void): Promise<ImageRecord> {
    refuse('name', imageNameProblem(given.name));
    const { context, writer, options, lease } = this;
    const signal = options.signal ? AbortSignal.any([lease.signal, options.signal]) : lease.signal;
    const { identity: fingerprint } = options;
    const input = { ...given, ...(fingerprint !== undefined && { fingerprint }) };
    const job = { context, writer, inputs: [input], options: {}, signal, resume: this.resume };
    const draft = draftManifest([input], {}, 'draft', context.clock.now()).images[0]!;
    let done = 0;
    const progress = new Progress([input], {
      onProgress: ({ doneBytes }) => {
        onBytes?.(doneBytes - done);
        done = doneBytes;
      },
    });
    const { record } = await packOne(job, input, draft, progress);
    this.manifest.images.push(record);
    return record;
  }

  /** Bytes of images that an earlier run had done. */
  get resumedBytes(): number {
    return this.resume?.resumedBytes ?? 0;
  }

  /** Why something that an earlier run had done was done again. */
  get restartReason(): string | undefined {
    return this.resume?.reason;
  }

  /** Takes over an image that an earlier run had done, so that its source need not be opened. */
  async addDone(input: Omit<ImageInput, 'source'>): Promise<ImageRecord | undefined> {
    // What is kept of one that is cut by content is found when it is added.
    if (input.chunking === 'content') return undefined;
    const { identity = '' } = this.options;
    const done = await this.resume?.takeDone(input.name, identity);
    if (done?.root === undefined) return undefined;
    const { root, written, map, logicalBytes } = done;
    const record = { ...draftImage(input, logicalBytes), root, written, map };
    this.manifest.images.push(record);
    return record;
  }

  /**
   * Takes over an image of another package, without copying. IMAGE_NOT_FOUND, PACKAGE_UNKNOWN
   * (NOT_FOUND).
   */
  async reuseImage(packageId: string, imageName: string, name: string): Promise<ImageRecord> {
    const { images } = await pinPackage(this.context.backend, this.lease, packageId);
    const found = images.find((image) => image.name === imageName);
    if (!found) {
      const text = `package "${packageId}" has no image "${imageName}"`;
      throw notFound('IMAGE_NOT_FOUND', text, { packageId, image: imageName });
    }
    const record = { ...found, name };
    this.manifest.images.push(record);
    return record;
  }

  async addFile(file: NewFile): Promise<void> {
    this.manifest.files.push(await this.writer.putFile(file));
  }

  /** Publishes the package; as `Store.pack`, an equal package under the same id is success. */
  async publish(): Promise<Manifest> {
    try {
      await this.resume?.settle();
      const { manifest } = await this.writer.publish(this.manifest);
      await this.resume?.end();
      return manifest;
    } catch (error) {
      await this.resume?.fail(error);
      throw error;
    } finally {
      await this.end();
    }
  }

  /** Gives everything up, but for what a repetition can go on from after this error. */
  async abort(error?: unknown): Promise<void> {
    if (error !== undefined) await this.resume?.fail(error);
    await this.end();
  }
}

/**
 * A package that is put together piece by piece: images read one after the other, images that other
 * packages have, files.
 */
import { notFound } from '../../../sdk/errors.ts';
import type { Lease } from './lease.ts';
import type { ImageRecord, Manifest } from './manifest.ts';
import { imageNameProblem } from './manifest-rules.ts';
import {
  draftManifest,
  type ImageInput,
  type PackOptions,
  Progress,
  packOne,
  refuse,
} from './pack.ts';
import type { NewFile, PackageWriter } from './package-writer.ts';
import { pinPackage } from './pinned-package.ts';
import type { StoreContext } from './store-context.ts';

export type CompositionOptions = Pick<
  PackOptions,
  'name' | 'kind' | 'labels' | 'parent' | 'compress' | 'signal'
> & { packageId: string; createdAt?: Date };

/**
 * OPEN → PUBLISHED or ABORTED. Until PUBLISHED nothing is listed. Not to be used by two callers at
 * once.
 */
export class Composition {
  private readonly context: StoreContext;
  private readonly lease: Lease;
  private readonly writer: PackageWriter;
  private readonly options: CompositionOptions;
  private readonly end: () => Promise<void>;
  private readonly manifest: Manifest;

  constructor(parts: {
    context: StoreContext;
    lease: Lease;
    writer: PackageWriter;
    options: CompositionOptions;
    end: () => Promise<void>;
  }) {
    this.context = parts.context;
    this.lease = parts.lease;
    this.writer = parts.writer;
    this.options = parts.options;
    this.end = parts.end;
    const { packageId, createdAt = parts.context.clock.now() } = parts.options;
    this.manifest = draftManifest([], parts.options, packageId, createdAt);
  }

  /** Reads and stores an image. `onBytes` gets the bytes of the image done since the last call. */
  async addImage(input: ImageInput, onBytes?: (bytes: number) => void): Promise<ImageRecord> {
    refuse('name', imageNameProblem(input.name));
    const { context, writer, options, lease } = this;
    const signal = options.signal ? AbortSignal.any([lease.signal, options.signal]) : lease.signal;
    const job = { context, writer, inputs: [input], options: {}, signal };
    const draft = draftManifest([input], {}, 'draft', context.clock.now()).images[0]!;
    let done = 0;
    const progress = new Progress([input], {
      onProgress: ({ doneBytes }) => {
        onBytes?.(doneBytes - done);
        done = doneBytes;
      },
    });
    const record = await packOne(job, input, draft, progress);
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
      return (await this.writer.publish(this.manifest)).manifest;
    } finally {
      await this.end();
    }
  }

  /** Gives everything up. */
  async abort(): Promise<void> {
    await this.end();
  }
}

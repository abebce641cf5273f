import { notFound } from '../../../sdk/errors.ts';
import { parseId } from './ids.ts';
import { ImageReader } from './image-reader.ts';
import { entryKind } from './index-codec.ts';
import type { Lease } from './lease.ts';
import type { Manifest } from './manifest.ts';
import type { StoreContext } from './store-context.ts';

/** An open package. It stays readable until `close`, even when it is deleted. OPEN → CLOSED. */
export class PackageReader {
  readonly manifest: Manifest;
  private readonly context: StoreContext;
  private readonly lease: Lease;
  private readonly onClose: () => Promise<void>;

  constructor(
    context: StoreContext,
    manifest: Manifest,
    lease: Lease,
    onClose: () => Promise<void>,
  ) {
    this.context = context;
    this.manifest = manifest;
    this.lease = lease;
    this.onClose = onClose;
  }

  /** Aborts with LEASE_LOST when what is read may go away. */
  get signal(): AbortSignal {
    return this.lease.signal;
  }

  /** The image of that name. IMAGE_NOT_FOUND (NOT_FOUND) otherwise. */
  image(name: string): ImageReader {
    const record = this.manifest.images.find((image) => image.name === name);
    if (record !== undefined) return new ImageReader(this.context, this.manifest.id, record);
    const text = `package "${this.manifest.id}" has no image "${name}"`;
    throw notFound('IMAGE_NOT_FOUND', text, { packageId: this.manifest.id, image: name });
  }

  /** The bytes of a small file, checked. FILE_NOT_FOUND (NOT_FOUND) otherwise. */
  async file(name: string): Promise<Uint8Array> {
    const record = this.manifest.files.find((file) => file.name === name);
    if (record === undefined) {
      const text = `package "${this.manifest.id}" has no file "${name}"`;
      throw notFound('FILE_NOT_FOUND', text, { packageId: this.manifest.id, file: name });
    }
    if (record.sizeBytes === 0) return new Uint8Array(0);
    const id = parseId(record.id)!;
    const { bytes } = await this.context.catalog.readRecord(entryKind.file, id);
    return new Uint8Array(bytes);
  }

  async close(): Promise<void> {
    await this.onClose();
  }
}

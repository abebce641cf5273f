import type { BlockSource } from '../sources/source.ts';
import type { FrameStart, PlacedBlock, StoredBlock } from '../targets/lz4-frame.ts';

/** One image of a package. */
export type PackageImage = {
  /** Unique within the package, any text of at most 255 bytes without control characters. */
  name: string;
  /** The size of the image in bytes. */
  sizeBytes: number;
  /** The id of the root of its tree in the store, where known: equal roots are equal images. */
  root?: string;
  /** What else belongs to it (role, snapshot, device); keys and values are kept as they are. */
  attributes?: Record<string, string>;
};

/** What is known of a package beside its contents. */
export type PackageAbout = {
  /** The base name of the manifest: letters, digits, `.`, `_`, `-`. */
  name: string;
  createdAt: Date;
  /**
   * The metadata block of the manifest, in order. Keys of letters, digits and `_`; one line each.
   */
  metadata: Record<string, string>;
};

/** All that an export asks of a store. */
export interface PackageReader {
  readonly about: PackageAbout;
  readonly images: readonly PackageImage[];
  /** Small files by their place in the archive, e.g. `VNFD/vnfd.zip`, `VNFSR/record.json`. */
  readonly files: readonly { path: string; sizeBytes: number }[];
  readFile(path: string): Promise<Uint8Array>;
  /** In ascending order; zero blocks are left out, a last short block is padded with zeros. */
  storedBlocks(imageName: string, signal?: AbortSignal, first?: number): AsyncIterable<StoredBlock>;
  /**
   * How much of the frame of an image, begun in a part of a file, is right; `onBlocks` sees that. A
   * reader without it has an interrupted export begin anew.
   */
  keptFrame?(
    imageName: string,
    part: { fd: number; start: number; end: number },
    options: { signal?: AbortSignal | undefined; onBlocks(blocks: PlacedBlock[]): Promise<void> },
  ): Promise<FrameStart>;
}

/**
 * All that an import asks of a store. OPEN → PUBLISHED or ABORTED; before PUBLISHED nothing is
 * listed.
 */
export interface PackageWriter {
  /** Takes an image that an interrupted import of this archive had read and stored, if it had. */
  takeImage?(image: PackageImage): Promise<{ root: string } | undefined>;
  addFile(path: string, bytes: Uint8Array): Promise<void>;
  /** Reads the whole source. Its caller closes it. */
  addImage(
    image: PackageImage,
    source: BlockSource,
    signal?: AbortSignal,
  ): Promise<{ root?: string }>;
  /** The id of the package, which is durable then. */
  publish(): Promise<string>;
  /** `error` is what ended the import: it decides what is kept for a repetition. */
  abort(error?: unknown): Promise<void>;
}

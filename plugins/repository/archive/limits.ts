/** Bounds for an archive from outside; each can be set by the caller of an import. */
export type ArchiveLimits = {
  /** Entries of the archive. */
  entriesMax: number;
  manifestMaxBytes: number;
  /** One file that is not an image, and all of them together. */
  fileMaxBytes: number;
  filesTotalMaxBytes: number;
  /** One image when it is unpacked, and all of them together. */
  imageMaxBytes: number;
  imagesTotalMaxBytes: number;
  /**
   * Unpacked to packed bytes of a compressed entry. Deflate reaches 1032; honest files stay far
   * below.
   */
  ratioMax: number;
};

export const defaultArchiveLimits: ArchiveLimits = {
  entriesMax: 4096,
  manifestMaxBytes: 4 * 2 ** 20,
  fileMaxBytes: 16 * 2 ** 20,
  filesTotalMaxBytes: 16 * 2 ** 20,
  imageMaxBytes: 16 * 2 ** 40,
  imagesTotalMaxBytes: 64 * 2 ** 40,
  ratioMax: 200,
};

/** Blocks of each image that are read back after an export unless all are. */
export const samplesDefault = 64;
/** Bytes of an archive that are read at once. */
export const readBytes = 1 << 20;
/** Of one name in an archive. */
export const entryNameMaxBytes = 512;
/** Images an index may list. */
export const imagesMax = 256;

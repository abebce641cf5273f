/**
 * Every bound of the store, with its unit and its reason. The first group is part of the storage
 * format.
 */
export { blockSize, idSize, runBlocksMax } from '../../../wasm/host/layout.ts';

/** The version that this code writes of every object; see docs/storage-format.md. */
export const formatVersion = 1;
/** Ids on a page: 4 KiB, so that a scattered change rewrites little and a walk stays short. */
export const pageFanOut = 128;
export const pageHeaderBytes = 8;
export const pageBytesMax = pageHeaderBytes + pageFanOut * 32;
/** 256 TiB in blocks of 64 KiB; keeps block numbers in 32 bits. */
export const blockCountMax = 2 ** 32;
/**
 * Offsets in a segment are 32 bits, and a fifth of a second of fsync is the most that closing one
 * should cost.
 */
export const segmentBytesMax = 256 * 1024 * 1024;
/** More entries than a segment of smallest blocks can hold would be a lie. */
export const segmentEntriesMax = 8_388_608;
/** Configuration, manifests, leases and markers are read whole. */
export const framedTextBytesMax = 4 * 1024 * 1024;
/** All small files of a package together: they pass through memory. */
export const filesBytesMax = 16 * 1024 * 1024;
export const filesMax = 1024;
export const imagesMax = 256;
export const parentsMax = 16;
export const labelsMax = 64;
export const labelKeyBytesMax = 128;
export const labelValueBytesMax = 1024;
/** The longest file name of common file systems. */
export const nameBytesMax = 255;
/** Names that never become file names. */
export const titleBytesMax = 256;
export const roleBytesMax = 64;

/** Space kept back for leases and markers when everything else is full: dozens of them fit. */
export const reserveBytes = 256 * 1024;

/**
 * A checkpoint is written when both have passed since the last: milliseconds, so that many small
 * segments never slow a writer down, and bytes read, so that it is worth the effort.
 */
export const checkpointMsMin = 2000;
export const checkpointBytesMin = 16 * 1024 * 1024;
/** How long an unfinished package is kept after its last checkpoint, in milliseconds: a week. */
export const checkpointKeptMs = 7 * 24 * 60 * 60 * 1000;
/** Blocks called done that are compared with the source before a run goes on behind them. */
export const resumeSamples = 16;

/** How long a lease lasts without renewal, in milliseconds; long enough for a stalled disk. */
export const leaseTermMs = 5 * 60 * 1000;
/** How much the clocks of two machines that share a repository may differ, in milliseconds. */
export const leaseSkewMs = 30 * 1000;
/** Leases in one repository; more means that something makes them and never ends. */
export const leasesMax = 4096;

/**
 * Runs of blocks that one operation has in the core at a time: enough to keep workers busy behind
 * the disk.
 */
export const runsInFlightMax = 8;
/** Runs of 4 MiB of an image cut by content that are read ahead. */
export const cutRunsInFlightMax = 3;
/** Runs of blocks that an export reads ahead, each up to 4 MiB of copies beside the core. */
export const exportRunsInFlightMax = 4;
/**
 * Blocks of a run that is packed, restored or verified, 2 MiB: longer runs make nothing faster and
 * keep 25 MiB more in memory.
 */
export const runBlocksUsual = 32;
/**
 * Bytes after which a segment in progress is fsynced in the background, so that closing it has
 * little to wait for.
 */
export const syncStrideBytes = 32 * 1024 * 1024;
/** Open segment files kept for reading. */
export const openSegmentsMax = 64;
/** Bytes of index files kept in memory for confirming look-ups. */
export const indexCacheBytesMax = 32 * 1024 * 1024;
/**
 * Entries whose table is kept in memory, as many as fit into 2^21 slots: 24 MiB with what growing
 * leaves behind. Beyond, they are looked up in a file, and so many more may be stored before that
 * file is made anew. It is also how many entries of its own a run compares a new block with.
 */
export const memoryEntriesMax = 1_740_000;
/** 2^21 buckets: their directory takes 8 MiB of memory. */
export const lookupBucketBitsMax = 21;
/** Segments that a table may list: 64 MiB of its head, 16 TiB of blocks that do not shrink. */
export const lookupSegmentsMax = 1_048_576;
/** A table of 2^32 entries has 34 GB and is the largest that there can be. */
export const lookupBytesMax = 2 ** 36;
/** Bytes that are sorted at once, and that are gathered for each part, when the table is made. */
export const lookupPartitionBytes = 8 * 1024 * 1024;
export const lookupSpillBytes = 12 * 2048;
/** Pieces in which pages are read: two pages. */
export const pagePieceBytes = 8 * 1024;
/** Pieces read at once on a walk: pages lie together, so the next ones are wanted as well. */
export const pagePiecesAhead = 32;
/** Pieces of pages kept in memory: 8 MiB. */
export const pagePiecesMax = 1024;
/**
 * Level of zstd when none is chosen: the lowest whose independent blocks of 64 KiB are together
 * within 3 % of what `zstd -1` makes of a whole disk image.
 */
export const zstdLevelDefault = 4;
/** Blocks called clean that are checked against the parent by default. */
export const samplesDefault = 64;
export const samplesMax = 65_536;
/** Damages that `verify` describes; it counts the others. */
export const damagesMax = 1000;
/** Share of a segment, in bytes, that must be garbage before it is rewritten. */
export const rewriteThresholdDefault = 0.5;
/** A writer closes a segment at this many entries, so that an index (3 MiB) is cheap to load. */
export const segmentEntriesTarget = 65_536;
/** Entries are gathered up to this many bytes before they are written. */
export const gatherBytesMax = 1024 * 1024;
/** Segments in one marker, so that it stays a small object. */
export const markerSegmentsMax = 10_000;

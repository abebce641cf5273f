/**
 * Every bound of the store, with its unit and its reason. The first group is part of the storage
 * format.
 */
import { blockSize } from '../../../wasm/host/layout.ts';

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
/**
 * Bytes after which a segment in progress is fsynced in the background, so that closing it has
 * little to wait for.
 */
export const syncStrideBytes = 32 * 1024 * 1024;
/** Open segment files kept for reading. */
export const openSegmentsMax = 64;
/** Bytes of index files kept in memory for confirming look-ups. */
export const indexCacheBytesMax = 64 * 1024 * 1024;
/** Pieces in which pages are read: they lie together, so the next ones are likely wanted. */
export const pagePieceBytes = 256 * 1024;
/** Pieces of pages kept in memory: 8 MiB. */
export const pagePiecesMax = 32;
/** Blocks called clean that are checked against the parent by default. */
export const samplesDefault = 64;
export const samplesMax = 65_536;
/** Damages that `verify` describes; it counts the others. */
export const damagesMax = 1000;
/** Share of a segment, in bytes, that must be garbage before it is rewritten. */
export const rewriteThresholdDefault = 0.5;
/** Most bytes of stored blocks that are read at once when they lie together. */
export const readAheadBytes = 64 * blockSize;
/** A writer closes a segment at this many entries, so that an index (3 MiB) is cheap to load. */
export const segmentEntriesTarget = 65_536;
/** Entries are gathered up to this many bytes before they are written. */
export const gatherBytesMax = 1024 * 1024;

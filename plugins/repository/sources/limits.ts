/** Bounds for everything that an image or a server may claim about itself. */

/** 64 TiB: far above any disk of a virtual machine, and its maps still fit in memory. */
export const imageSizeMaxBytes = 64 * 2 ** 40;
/** QEMU's own practice is a handful; a longer chain is a mistake or an attack. */
export const backingChainMax = 64;
/** Of an L1 table, as QEMU bounds it. */
export const l1TableMaxBytes = 32 * 2 ** 20;
/** Pieces of qcow2 tables that are kept for a whole chain: 128 × 64 KiB = 8 MiB. */
export const tablePageBytes = 65536;
export const tablePagesMax = 128;
/** Decompressed clusters that are kept for a chain (at most 2 MiB each). */
export const clusterCacheMax = 4;
/** Internal snapshots whose names are listed; more are counted only. */
export const internalSnapshotsMax = 256;
/** Steps between two turns of the event loop in a walk that needs no input. */
export const stepsPerTurn = 4096;
/** Bytes of a piece of a streamed image: 1 MiB, so that the messages that wait stay small. */
export const streamPieceBytesMax = 2 ** 20;
/** Milliseconds in which a stream that is waited for must bring something: 5 minutes. */
export const streamIdleMsMax = 5 * 60 * 1000;

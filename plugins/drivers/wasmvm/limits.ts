/** The grain of changed-block maps and of sparse copies, in bytes. */
export const blockBytes = 65536;
/** The size of a page of WebAssembly memory, in bytes. */
export const pageBytes = 65536;

/** The time between two ticks of a guest, in milliseconds. */
export const tickMsDefault = 10;
/** The longest the machine room sleeps, in milliseconds: its heart beats at least this often. */
export const beatMsMax = 200;
/** How often the driver looks at the heartbeat of the machine room, in milliseconds. */
export const watchMs = 500;
/**
 * How long a guest may compute in one tick before the machine room counts as stalled, in
 * milliseconds.
 */
export const stallMsDefault = 5_000;
/** How often in a row the machine room is started again when no guest can be blamed. */
export const blamelessRestartsMax = 3;

/** Bytes that one slice of a copy moves; ticks and deadlines come between slices. */
export const sliceBytes = 4 * 1024 * 1024;
/**
 * Rounds that a seeded schedule runs before each capture: the time that passes between two
 * requests.
 */
export const seededRoundsMin = 64;
export const seededRoundsMax = 256;

/** The most compute resources, volumes and networks of a driver. */
export const computesMax = 256;
export const volumesMax = 4096;
export const networksMax = 1024;
/** The most snapshots of a driver. */
export const snapshotsMax = 65_536;
/** The largest volume, in bytes: its map must fit into a record. */
export const volumeBytesMax = 1024 * 1024 * 1024 * 1024;
/** Memory that a guest may use when its spec names none, in MiB. */
export const memoryMibDefault = 64;
/** The most memory that a WebAssembly guest can have, in MiB. */
export const memoryMibMax = 4096;
/** The largest program of a guest, in bytes. */
export const programBytesMax = 16 * 1024 * 1024;

/** The longest hold or freeze, in milliseconds, and the shortest. */
export const leaseMsMax = 600_000;
export const leaseMsMin = 1;
/** How long a guest may stay frozen after a revert to a snapshot that was taken while it was. */
export const restoredFreezeMs = 60_000;
/** The hold after a revert when the caller names none. */
export const revertHoldMsDefault = 60_000;
/** How long a guest may take to shut down when the caller names no time, and at most. */
export const gracefulMsDefault = 30_000;
export const gracefulMsMax = 600_000;
/** Ended leases of a guest that are remembered, to tell "expired" from "released". */
export const endedLeasesMax = 64;

/** Frames that wait at an interface; more are dropped, as on a real network. */
export const framesQueuedMax = 256;
/** The smallest and the largest Ethernet frame without its checksum, in bytes. */
export const frameBytesMin = 14;
export const frameBytesMax = 1514;
/** Lines that wait for a guest on its VNF channel, and the longest line, in bytes. */
export const linesQueuedMax = 64;
export const lineBytesMax = 4096;
/** Lines that a guest may write to its VNF channel in one tick. */
export const linesPerTickMax = 64;
/** Clients of one VNF channel, and what may wait for a slow one, in bytes. */
export const channelClientsMax = 8;
export const channelBufferBytesMax = 256 * 1024;
/** The console of a guest is begun anew above this, in bytes. */
export const consoleBytesMax = 1024 * 1024;
/** The largest device state that is loaded, in bytes. */
export const deviceStateBytesMax = 16 * 1024 * 1024;

/** Outcomes of calls that are remembered for repeats. */
export const outcomesMax = 4096;
/** How long an opening of data lasts, in milliseconds. */
export const openingMs = 60 * 60 * 1000;
/** Openings at a time. */
export const openingsMax = 1024;
/** Extents in one message of a map. */
export const extentsPerMessageMax = 4096;
/**
 * How long the driver waits for an answer of the machine room beyond what the command itself may
 * take.
 */
export const roomAnswerMsMax = 120_000;
/** Commands that may wait for the machine room. */
export const roomCommandsMax = 1024;

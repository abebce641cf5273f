/** Bounds of the NBD server, each with its unit and its reason. */
import { blockSize } from '../store/limits.ts';

/** Connections at a time; a guest takes one, `nbdcopy` four. */
export const clientsMax = 32;
/** Requests of one client under way; its next ones wait unread in its socket. */
export const requestsInFlightMax = 16;
/** Bytes in which a request is worked off: with the bound above 4 MiB a client. */
export const pieceBytes = 4 * blockSize;
/** Largest request, in bytes: what clients may assume where nothing else was agreed. */
export const requestBytesMax = 32 * 2 ** 20;
/** The same for clients without structured replies: such an answer is held whole, in bytes. */
export const simpleReadBytesMax = 4 * 2 ** 20;
/** Data of one option, in bytes: an export name and a few contexts. */
export const optionBytesMax = 16 * 1024;
/** Options of one client before it reads anything. */
export const optionsMax = 64;
/** For the whole handshake, in milliseconds. */
export const handshakeMs = 10_000;
/** For the rest of a request that has begun, in milliseconds. */
export const requestMs = 30_000;
/** For a client that takes none of its answer, in milliseconds. */
export const slowReaderMs = 60_000;
/** Extents in one answer about a range: 32 KiB; the client asks on from where it ends. */
export const extentsMax = 4096;
/** For requests under way when the server ends, in milliseconds. */
export const drainMs = 5000;
/** Decoded blocks that are kept for all clients together: 32 MiB. */
export const cacheBlocksMax = 512;
/** Blocks that are decoded at once when somebody reads on: 1 MiB. */
export const readAheadBlocks = 16;
/** Kinds of faults that are told; a guest repeats a failing read without end. */
export const faultsToldMax = 100;
/** After this time without a byte the network is asked whether the client is there, in ms. */
export const keepAliveMs = 60_000;

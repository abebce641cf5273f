// What the host may call. Every parameter and result is an integer; the host owns all of the
// memory.
export { isEqual, isZero } from './blocks';
export { hashParent, hashSubtree } from './blake3';
export { compress } from './lz4-compress';
export { decompress } from './lz4-decompress';
export { decodeRun, encodeRun, scratchSize } from './run';

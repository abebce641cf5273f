// What the host may call. Every parameter and result is an integer; the host owns all of the
// memory.
export { isEqual, isZero } from './blocks';
export { hashParent, hashSubtree } from './blake3';
export { encodeDifferent } from './compare';
export { cutRun } from './cut';
export { compress } from './lz4-compress';
export { decompress } from './lz4-decompress';
export { decodeRun, encodeRun, scratchSize } from './run';
export { deltaCompress, deltaTableSize } from './delta-compress';
export { deltaDecompress } from './delta-decompress';

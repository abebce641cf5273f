import { blockSize, idSize } from './layout.ts';
import { localCore, localSlot } from './local-core.ts';

const chunksPerPiece = blockSize / 1024;

/** BLAKE3-256 of bytes that come in parts of any size. */
export interface Hasher {
  update(bytes: Uint8Array): Hasher;
  /** The 32-byte digest of everything so far. The hasher must not be used afterwards. */
  digest(): Uint8Array;
}

// Hashes one piece of at most 64 KiB that starts at piece number `index` of the whole input.
function hashPiece(piece: Uint8Array, index: number, isRoot: boolean): Uint8Array {
  const core = localCore();
  const { input, ids } = localSlot;
  core.bytes.set(piece, input);
  const counter = index * chunksPerPiece;
  core.exports.hashSubtree(input, piece.length, counter, Number(isRoot), ids, core.scratch);
  return new Uint8Array(core.bytes.subarray(ids, ids + idSize));
}

function mergePair(left: Uint8Array, right: Uint8Array, isRoot: boolean): Uint8Array {
  const core = localCore();
  const { input, ids } = localSlot;
  core.bytes.set(left, input);
  core.bytes.set(right, input + idSize);
  core.exports.hashParent(input, Number(isRoot), ids, core.scratch);
  return new Uint8Array(core.bytes.subarray(ids, ids + idSize));
}

class PieceHasher implements Hasher {
  // Bytes of the piece in progress. A full piece waits until more follows, because the last one is
  // hashed differently.
  private readonly pending = new Uint8Array(blockSize);
  private pendingLength = 0;
  private pieces = 0;
  // Roots of the finished subtrees, largest first: one for each bit that is set in `pieces`.
  private readonly subtrees: Uint8Array[] = [];

  update(bytes: Uint8Array): Hasher {
    let at = 0;
    while (at < bytes.length) {
      if (this.pendingLength === blockSize) this.finishPiece(this.pending);
      if (this.pendingLength === 0) {
        while (bytes.length - at > blockSize) {
          this.finishPiece(bytes.subarray(at, at + blockSize));
          at += blockSize;
        }
      }
      const part = bytes.subarray(at, at + blockSize - this.pendingLength);
      this.pending.set(part, this.pendingLength);
      this.pendingLength += part.length;
      at += part.length;
    }
    return this;
  }

  digest(): Uint8Array {
    const last = this.pending.subarray(0, this.pendingLength);
    let digest = hashPiece(last, this.pieces, this.subtrees.length === 0);
    while (this.subtrees.length > 0) {
      const left = this.subtrees.pop()!;
      digest = mergePair(left, digest, this.subtrees.length === 0);
    }
    return digest;
  }

  private finishPiece(piece: Uint8Array): void {
    let subtree = hashPiece(piece, this.pieces, false);
    this.pieces += 1;
    this.pendingLength = 0;
    // Two subtrees of the same size become one: as often as `pieces` ends in zero bits.
    for (let size = this.pieces; size % 2 === 0; size /= 2) {
      subtree = mergePair(this.subtrees.pop()!, subtree, false);
    }
    this.subtrees.push(subtree);
  }
}

/** Starts a BLAKE3-256 digest of parts. Inputs up to 4 TiB. */
export function createHasher(): Hasher {
  return new PieceHasher();
}

/** The BLAKE3-256 digest (32 bytes) of bytes of any length, in the calling thread. */
export function hash(bytes: Uint8Array): Uint8Array {
  if (bytes.length <= blockSize) return hashPiece(bytes, 0, true);
  return createHasher().update(bytes).digest();
}

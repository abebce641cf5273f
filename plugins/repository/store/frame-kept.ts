/** How much of an LZ4 frame that an earlier process left is right; docs/storage-format.md 11. */
import { read } from 'node:fs';
import { promisify } from 'node:util';
import type { StoredBlock } from '../../../wasm/host/core-pool.ts';
import { encodeFrameHeader, rawBlockFlag } from '../sources/lz4-frame/header.ts';
import { zeroBlock } from '../sources/lz4-frame/zeros.ts';
import type { FrameStart, PlacedBlock } from '../targets/lz4-frame.ts';
import { holeId, idAt, isHole } from './ids.ts';
import type { ImageReader } from './image-reader.ts';
import { blockSize, runBlocksMax } from './limits.ts';

/** A part of a file. */
export type FilePart = { fd: number; start: number; end: number };

export type KeptFrameOptions = {
  signal?: AbortSignal | undefined;
  /** Sees the blocks that are right, without holes, a run at a time. */
  onBlocks?: (blocks: PlacedBlock[]) => Promise<void>;
};

const readSome = promisify(read);
const lengthBytes = 4;
const pieceBytes = runBlocksMax * (blockSize + lengthBytes);

/**
 * Goes through the blocks of the frame as long as each decodes to what the image has there. A last
 * block that the image fills in part is never counted: it is written anew.
 */
export async function countKeptFrame(
  image: ImageReader,
  part: FilePart,
  options: KeptFrameOptions = {},
): Promise<FrameStart> {
  const { signal, onBlocks } = options;
  // What is stored is no block of a frame to compare with.
  if (image.isCut) return { blocks: 0, bytes: 0 };
  const { logicalBytes } = image.record;
  const header = encodeFrameHeader(logicalBytes);
  const found = await readPiece(part, 0, header.length);
  if (Buffer.compare(found, header) !== 0) return { blocks: 0, bytes: 0 };
  const kept = { blocks: 0, bytes: header.length };
  const whole = Math.floor(logicalBytes / blockSize);
  while (kept.blocks < whole) {
    signal?.throwIfAborted();
    const count = Math.min(runBlocksMax, whole - kept.blocks);
    const ids = await image.tree.ids(kept.blocks, count);
    const piece = await readPiece(part, kept.bytes, pieceBytes);
    const placed = placeBlocks(piece, ids, count);
    const at = part.start + kept.bytes;
    const blocks = placed.map((block) => ({ ...block, fd: part.fd, offset: at + block.offset }));
    const right = blocks.length === 0 ? 0 : await image.countRight(blocks);
    await onBlocks?.(toPlaced(placed.slice(0, right), piece, kept));
    const last = placed[right - 1];
    if (last !== undefined) kept.bytes += last.offset + last.storedLength;
    kept.blocks += right;
    if (right < count) break;
  }
  return kept;
}

type Placed = StoredBlock & { encoding: 'lz4' | 'raw'; storedLength: number };

// The blocks that lie whole in the piece, offsets from its start; zero blocks are compared here.
function placeBlocks(piece: Uint8Array, ids: Uint8Array, count: number): Placed[] {
  const view = new DataView(piece.buffer, piece.byteOffset, piece.length);
  const placed: Placed[] = [];
  let at = 0;
  while (placed.length < count && at + lengthBytes <= piece.length) {
    const word = view.getUint32(at, true);
    const storedLength = word & ~rawBlockFlag;
    const offset = at + lengthBytes;
    const encoding = word & rawBlockFlag ? ('raw' as const) : ('lz4' as const);
    const isSound = storedLength > 0 && storedLength <= blockSize;
    if (!isSound || offset + storedLength > piece.length) break;
    const isZero = isHole(ids, placed.length);
    const bytes = piece.subarray(offset, offset + storedLength);
    if (isZero && Buffer.compare(bytes, zeroBlock.bytes) !== 0) break;
    const id = isZero ? holeId : idAt(ids, placed.length);
    const lengths = { length: storedLength, storedLength };
    placed.push({ id, encoding, fd: 0, offset, targetOffset: 0, ...lengths });
    at = offset + storedLength;
  }
  return placed;
}

function toPlaced(blocks: readonly Placed[], piece: Uint8Array, from: FrameStart): PlacedBlock[] {
  return blocks.flatMap(({ id, encoding, offset, storedLength }, index) => {
    if (isHole(id)) return [];
    const bytes = piece.subarray(offset, offset + storedLength);
    return [{ index: from.blocks + index, id, encoding, bytes, frameOffset: from.bytes + offset }];
  });
}

async function readPiece(part: FilePart, from: number, length: number): Promise<Uint8Array> {
  const start = part.start + from;
  const bytes = new Uint8Array(Math.max(0, Math.min(length, part.end - start)));
  let done = 0;
  while (done < bytes.length) {
    const { bytesRead } = await readSome(part.fd, bytes, done, bytes.length - done, start + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return bytes.subarray(0, done);
}

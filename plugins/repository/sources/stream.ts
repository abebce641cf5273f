/**
 * Images that arrive as one stream of pieces, one image after the other. A source takes pieces only
 * while it is asked for extents, and keeps their blocks until they are read.
 */
import { internal, invalidArgument } from '../../../sdk/errors.ts';
import { blockSize } from '../../../wasm/host/layout.ts';
import { streamPieceBytesMax } from './limits.ts';
import type { BlockSource, SourceExtent } from './source.ts';

/** Bytes of an image; `image` is its place in the list of images. */
export type StreamPiece = { image: number; offset: bigint; content: Uint8Array };

export type StreamedImage = {
  name: string;
  sizeBytes: number;
  /** Its place in the list of images. */
  index: number;
  isLast: boolean;
};

/** The pieces of all images; lets a source look at a piece before it takes it. */
export class PieceReader {
  private readonly next: () => Promise<StreamPiece | undefined>;
  private ahead: StreamPiece | undefined;
  private isOver = false;

  /** `next` gives undefined at the end. */
  constructor(next: () => Promise<StreamPiece | undefined>) {
    this.next = next;
  }

  async peek(): Promise<StreamPiece | undefined> {
    if (this.ahead === undefined && !this.isOver) {
      this.ahead = await this.next();
      this.isOver = this.ahead === undefined;
    }
    return this.ahead;
  }

  take(): void {
    this.ahead = undefined;
  }
}

/** Can be read once and forward only: each block within an extent, after the extent was given. */
export class StreamSource implements BlockSource {
  readonly name: string;
  readonly sizeBytes: number;
  private readonly image: StreamedImage;
  private readonly pieces: PieceReader;
  /** Blocks by number that arrived and were not read. */
  private readonly blocks = new Map<number, Uint8Array>();

  constructor(pieces: PieceReader, image: StreamedImage) {
    this.pieces = pieces;
    this.name = `the stream of image "${image.name}"`;
    this.sizeBytes = image.sizeBytes;
    this.image = image;
  }

  /** Only whole blocks: an extent ends where the next piece can add no more to its blocks. */
  async *extents(): AsyncGenerator<SourceExtent> {
    let start = 0;
    let end = 0;
    for await (const piece of this.ownPieces()) {
      const from = Math.floor(piece.start / blockSize) * blockSize;
      // The block that the last piece ended in may get more; those before it are whole.
      const whole = Math.min(from, Math.floor(end / blockSize) * blockSize);
      if (whole > start) yield { offset: start, length: whole - start, kind: 'data' };
      start = Math.max(start, whole);
      if (from >= end) {
        if (end > start) yield { offset: start, length: end - start, kind: 'data' };
        if (from > end) yield { offset: end, length: from - end, kind: 'zero' };
        start = from;
      }
      this.keep(piece.start, piece.content);
      end = piece.start + piece.content.length;
    }
    if (end > start) yield { offset: start, length: end - start, kind: 'data' };
    if (this.sizeBytes > end) yield { offset: end, length: this.sizeBytes - end, kind: 'zero' };
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    for (let done = 0; done < target.length; done += blockSize) {
      const number = (offset + done) / blockSize;
      const block = this.blocks.get(number);
      if (block === undefined) {
        throw internal('STREAM_READ', `${this.name} has no block ${number} any more, or not yet`);
      }
      target.set(block.subarray(0, target.length - done), done);
      this.blocks.delete(number);
    }
  }

  async close(): Promise<void> {
    this.blocks.clear();
  }

  private async *ownPieces(): AsyncGenerator<{ start: number; content: Uint8Array }> {
    let end = 0;
    for (;;) {
      const piece = await this.pieces.peek();
      if (piece === undefined) return;
      if (piece.image > this.image.index && !this.image.isLast) return;
      const { content } = piece;
      this.check(piece, end);
      this.pieces.take();
      const start = Number(piece.offset);
      end = start + content.length;
      yield { start, content };
    }
  }

  private check({ image, offset, content }: StreamPiece, end: number): void {
    const refuse = (reason: string, problem: string) => {
      const text = `${this.name}: the piece of ${content.length} bytes at byte ${offset} ${problem}`;
      throw invalidArgument(reason, text, { image: this.image.name, offset: `${offset}` });
    };
    if (image !== this.image.index) {
      const problem = `is of image ${image} of the list, which is over or not in the list`;
      refuse('STREAM_INVALID', problem);
    }
    const length = content.length;
    if (length > streamPieceBytesMax) {
      refuse('PIECE_TOO_LARGE', `is larger than ${streamPieceBytesMax} bytes`);
    }
    if (offset < BigInt(end)) {
      refuse('PIECE_OUT_OF_ORDER', `begins before byte ${end}, where the one before it ended`);
    }
    if (offset + BigInt(length) > BigInt(this.sizeBytes)) {
      refuse('PIECE_OUT_OF_RANGE', `reaches beyond the image of ${this.sizeBytes} bytes`);
    }
  }

  private keep(start: number, content: Uint8Array): void {
    for (let done = 0; done < content.length; ) {
      const number = Math.floor((start + done) / blockSize);
      const within = (start + done) % blockSize;
      const length = Math.min(blockSize - within, content.length - done);
      const block = this.blocks.get(number) ?? new Uint8Array(blockSize);
      block.set(content.subarray(done, done + length), within);
      this.blocks.set(number, block);
      done += length;
    }
  }
}

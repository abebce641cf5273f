import { createHash } from 'node:crypto';
import { dataLoss } from '../../../sdk/errors.ts';
import { type PlacedBlock, plainBlock } from '../targets/lz4-frame.ts';
import { IndependentDecoder } from './independent-decoder.ts';

/** Reads bytes of the archive that was written. */
export type ReadBack = (position: number, target: Uint8Array) => Promise<void>;

type Expected = {
  index: number;
  frameOffset: number;
  storedBytes: number;
  encoding: 'lz4' | 'raw';
  sha256: string;
};

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/**
 * Chooses blocks while an image is written and compares afterwards what the file holds, decoded by
 * foreign code, with what the store gave, decoded by ours. `all` checks every block; else a sample,
 * each block with equal chance.
 */
export class Prover {
  readonly #decoder = new IndependentDecoder();
  readonly #read: ReadBack;
  readonly #random: () => number;
  readonly #sampleMax: number;
  #chosen: Expected[] = [];
  #seen = 0;
  provenBlocks = 0;

  /** `random` gives numbers in [0, 1). */
  constructor(read: ReadBack, samples: number | 'all', random: () => number) {
    this.#read = read;
    this.#random = random;
    this.#sampleMax = samples === 'all' ? Number.POSITIVE_INFINITY : samples;
  }

  /** Sees each block of an image; keeps what is chosen (reservoir sampling). */
  observe(block: PlacedBlock): void {
    this.#seen += 1;
    if (this.#chosen.length < this.#sampleMax) {
      this.#chosen.push(expect(block));
      return;
    }
    const place = Math.floor(this.#random() * this.#seen);
    if (place < this.#sampleMax) this.#chosen[place] = expect(block);
  }

  /** Checks what is already in the file, so that nothing piles up when all blocks are checked. */
  async written(image: string, frameStart: number, frameBytes: number): Promise<void> {
    if (this.#sampleMax !== Number.POSITIVE_INFINITY) return;
    const later: Expected[] = [];
    for (const expected of this.#chosen) {
      const ends = expected.frameOffset + expected.storedBytes;
      if (ends <= frameBytes) await this.#check(image, frameStart, expected);
      else later.push(expected);
    }
    this.#chosen = later;
  }

  /** Checks what was chosen of this image, and starts afresh for the next. */
  async finishImage(image: string, frameStart: number): Promise<void> {
    for (const expected of this.#chosen) await this.#check(image, frameStart, expected);
    this.#chosen = [];
    this.#seen = 0;
  }

  async #check(image: string, frameStart: number, expected: Expected): Promise<void> {
    const { index, frameOffset, storedBytes, encoding } = expected;
    const stored = new Uint8Array(storedBytes);
    await this.#read(frameStart + frameOffset, stored);
    const plain = encoding === 'raw' ? stored : this.#decoder.decode(stored);
    if (plain === undefined || sha256(plain) !== expected.sha256) {
      const message = `block ${index} of image ${image} does not read back as it was stored`;
      throw dataLoss('EXPORT_UNPROVEN', message, { image, block: String(index) });
    }
    this.provenBlocks += 1;
  }
}

function expect(block: PlacedBlock): Expected {
  const { index, frameOffset, encoding, bytes } = block;
  return {
    index,
    frameOffset,
    encoding,
    storedBytes: bytes.length,
    sha256: sha256(plainBlock(block)),
  };
}

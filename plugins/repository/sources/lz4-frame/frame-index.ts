/** A run is the unit that is read at once: 4 MiB of image. */
export const runBytes = 4 * 2 ** 20;

/**
 * Where each run of blocks starts in the file, a checksum of its stored bytes, and which blocks are
 * zero.
 */
export class FrameIndex {
  readonly blocksPerRun: number;
  blockCount = 0;
  #starts = new Float64Array(256);
  #checks = new Uint32Array(256);
  #zeros = new Uint8Array(256);
  #runs = 0;

  constructor(blockMaxBytes: number) {
    this.blocksPerRun = Math.max(1, runBytes / blockMaxBytes);
  }

  /** Adds the next block, whose length field is at `position`. */
  add(position: number, zero: boolean) {
    if (this.blockCount % this.blocksPerRun === 0) {
      if (this.#runs + 1 >= this.#starts.length) this.#grow();
      this.#starts[this.#runs] = position;
      this.#runs += 1;
    }
    const byte = this.blockCount >>> 3;
    if (byte >= this.#zeros.length) this.#zeros = enlarged(this.#zeros, Uint8Array);
    if (zero) this.#zeros[byte] = this.#zeros[byte]! | (1 << (this.blockCount & 7));
    this.blockCount += 1;
  }

  /** Sets the CRC-32 of the run that was added to last and where the block after it would start. */
  closeRun(check: number, end: number) {
    this.#checks[this.#runs - 1] = check;
    this.#starts[this.#runs] = end;
  }

  get runCount(): number {
    return this.#runs;
  }

  run(index: number): { start: number; end: number; check: number } {
    return {
      start: this.#starts[index]!,
      end: this.#starts[index + 1]!,
      check: this.#checks[index]!,
    };
  }

  isZero(block: number): boolean {
    return (this.#zeros[block >>> 3]! & (1 << (block & 7))) !== 0;
  }

  #grow() {
    this.#starts = enlarged(this.#starts, Float64Array);
    this.#checks = enlarged(this.#checks, Uint32Array);
  }
}

type Numbers = Uint8Array | Uint32Array | Float64Array;

function enlarged<A extends Numbers>(old: A, type: new (length: number) => A): A {
  const larger = new type(old.length * 2);
  larger.set(old);
  return larger;
}

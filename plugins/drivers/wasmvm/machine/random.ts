const mask = (1n << 64n) - 1n;

/**
 * A small generator (SplitMix64) whose whole state is one number, so that a snapshot can hold it.
 */
export class SplitMix64 {
  state: bigint;

  constructor(seed: bigint) {
    this.state = seed & mask;
  }

  /** 64 random bits. */
  next(): bigint {
    this.state = (this.state + 0x9e3779b97f4a7c15n) & mask;
    let value = this.state;
    value = ((value ^ (value >> 30n)) * 0xbf58476d1ce4e5b9n) & mask;
    value = ((value ^ (value >> 27n)) * 0x94d049bb133111ebn) & mask;
    return value ^ (value >> 31n);
  }

  /** A whole number from 0 to below `limit`, which is at most 2^32. */
  below(limit: number): number {
    return Number((this.next() >> 32n) % BigInt(limit));
  }
}

/** A set of ordinals: one bit each, so that marking millions of blocks takes little memory. */
export class Bits {
  private readonly bytes: Uint8Array;

  /** For ordinals from 0 to `count` - 1. */
  constructor(count: number) {
    this.bytes = new Uint8Array(Math.ceil(count / 8));
  }

  has(ordinal: number): boolean {
    return (this.bytes[ordinal >>> 3]! & (1 << (ordinal & 7))) !== 0;
  }

  add(ordinal: number): void {
    this.bytes[ordinal >>> 3]! |= 1 << (ordinal & 7);
  }
}

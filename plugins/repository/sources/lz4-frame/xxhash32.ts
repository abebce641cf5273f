/** xxHash32 with seed 0, as LZ4 frames use it for headers, blocks and contents. */

const prime1 = 0x9e3779b1;
const prime2 = 0x85ebca77;
const prime3 = 0xc2b2ae3d;
const prime4 = 0x27d4eb2f;
const prime5 = 0x165667b1;

const rotate = (value: number, bits: number) => (value << bits) | (value >>> (32 - bits));
const round = (lane: number, input: number) =>
  Math.imul(rotate((lane + Math.imul(input, prime2)) | 0, 13), prime1);

/** Feed with `update` in pieces of any length; `digest` gives an unsigned 32-bit number. */
export class XxHash32 {
  readonly #lanes = new Int32Array([(prime1 + prime2) | 0, prime2 | 0, 0, -prime1 | 0]);
  readonly #pending = new Uint8Array(16);
  readonly #pendingView = new DataView(this.#pending.buffer);
  #pendingBytes = 0;
  #total = 0;

  update(bytes: Uint8Array): this {
    this.#total += bytes.length;
    let at = 0;
    if (this.#pendingBytes > 0) {
      at = Math.min(16 - this.#pendingBytes, bytes.length);
      this.#pending.set(bytes.subarray(0, at), this.#pendingBytes);
      this.#pendingBytes += at;
      if (this.#pendingBytes < 16) return this;
      this.#stripes(this.#pendingView, 0, 16);
      this.#pendingBytes = 0;
    }
    const end = at + ((bytes.length - at) & ~15);
    this.#stripes(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), at, end);
    this.#pending.set(bytes.subarray(end));
    this.#pendingBytes = bytes.length - end;
    return this;
  }

  #stripes(view: DataView, start: number, end: number) {
    let [a, b, c, d] = this.#lanes as unknown as [number, number, number, number];
    for (let at = start; at < end; at += 16) {
      a = round(a, view.getInt32(at, true));
      b = round(b, view.getInt32(at + 4, true));
      c = round(c, view.getInt32(at + 8, true));
      d = round(d, view.getInt32(at + 12, true));
    }
    this.#lanes.set([a, b, c, d]);
  }

  digest(): number {
    const [a, b, c, d] = this.#lanes as unknown as [number, number, number, number];
    let hash =
      this.#total >= 16
        ? (rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(d, 18)) | 0
        : prime5 | 0;
    hash = (hash + this.#total) | 0;
    let at = 0;
    for (; at + 4 <= this.#pendingBytes; at += 4) {
      const word = Math.imul(this.#pendingView.getInt32(at, true), prime3);
      hash = Math.imul(rotate((hash + word) | 0, 17), prime4);
    }
    for (; at < this.#pendingBytes; at += 1) {
      const byte = Math.imul(this.#pending[at]!, prime5);
      hash = Math.imul(rotate((hash + byte) | 0, 11), prime1);
    }
    hash = Math.imul(hash ^ (hash >>> 15), prime2);
    hash = Math.imul(hash ^ (hash >>> 13), prime3);
    return (hash ^ (hash >>> 16)) >>> 0;
  }
}

export function xxHash32(bytes: Uint8Array): number {
  return new XxHash32().update(bytes).digest();
}

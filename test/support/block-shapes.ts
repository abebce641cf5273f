import fc from 'fast-check';

/**
 * The seed of property tests: fixed, so that a run repeats; set PROPERTY_SEED to look elsewhere.
 */
export const seed = Number(process.env.PROPERTY_SEED ?? 20_260_101);

const piece = fc.oneof(
  fc.record({ length: fc.integer({ min: 1, max: 5000 }), byte: fc.constantFrom(0, 0, 0, 1, 255) }),
  fc.uint8Array({ minLength: 1, maxLength: 300 }),
  fc.record({
    period: fc.uint8Array({ minLength: 1, maxLength: 40 }),
    times: fc.integer({ min: 2, max: 300 }),
  }),
  fc.record({
    back: fc.integer({ min: 1, max: 70_000 }),
    length: fc.integer({ min: 4, max: 2000 }),
  }),
);

type Piece = typeof piece extends fc.Arbitrary<infer T> ? T : never;

function build(pieces: Piece[], sizeMax: number): Uint8Array {
  const out: number[] = [];
  for (const next of pieces) {
    if (next instanceof Uint8Array) out.push(...next);
    else if ('byte' in next) for (let i = 0; i < next.length; i++) out.push(next.byte);
    else if ('times' in next) for (let i = 0; i < next.times; i++) out.push(...next.period);
    else for (let i = 0; i < next.length; i++) out.push(out[out.length - next.back] ?? i & 255);
  }
  return Uint8Array.from(out.slice(0, sizeMax));
}

/**
 * Bytes in the shapes of disks: zero runs, constant runs, short and long repeats, random parts; 0
 * to `sizeMax` bytes.
 */
export function shapedBytes(sizeMax: number): fc.Arbitrary<Uint8Array> {
  return fc.array(piece, { maxLength: 60 }).map((pieces) => build(pieces, sizeMax));
}

/** A whole block: often zero, else shaped bytes with zeros behind. */
export function blockOf(size: number): fc.Arbitrary<Uint8Array> {
  const shaped = shapedBytes(size).map((bytes) => {
    const block = new Uint8Array(size);
    block.set(bytes);
    return block;
  });
  return fc.oneof(fc.constant(new Uint8Array(size)), shaped, shaped, shaped);
}

/** Bytes that do not compress, the same for the same `start`. */
export function noise(size: number, start: number): Uint8Array {
  let state = start;
  return Uint8Array.from({ length: size }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    return state >>> 24;
  });
}

import test from 'ava';
import fc from 'fast-check';
import { createHasher, hash } from '../../../wasm/host/blake3.ts';
import { referenceHash } from '../../../wasm/reference/blake3.ts';
import { seed, shapedBytes } from '../../support/block-shapes.ts';

test('blake3: the fast code agrees with the reference', (t) => {
  const property = fc.property(shapedBytes(140_000), (bytes) => {
    t.deepEqual(hash(bytes), referenceHash(bytes));
  });
  fc.assert(property, { seed, numRuns: 60 });
  t.log(`seed ${seed}`);
});

test('blake3: any cut into parts gives the digest of the whole', (t) => {
  const cuts = fc.array(fc.integer({ min: 0, max: 200_000 }), { maxLength: 6 });
  const property = fc.property(fc.integer({ min: 0, max: 200_000 }), cuts, (length, places) => {
    const bytes = Uint8Array.from({ length }, (_, i) => (i * i) >> 3);
    const hasher = createHasher();
    const edges = [0, ...places.filter((at) => at < length).sort((a, b) => a - b), length];
    edges.slice(1).forEach((end, i) => {
      hasher.update(bytes.subarray(edges[i], end));
    });
    t.deepEqual(hasher.digest(), hash(bytes));
  });
  fc.assert(property, { seed, numRuns: 60 });
  t.log(`seed ${seed}`);
});

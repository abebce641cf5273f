import test from 'ava';
import { hash } from '../../../wasm/host/blake3.ts';
import { blockSize } from '../../../wasm/host/layout.ts';
import { referenceDeltaDecode } from '../../../wasm/reference/delta.ts';
import vectors from '../../../wasm/vectors/delta.json' with { type: 'json' };
import { noise } from '../../support/block-shapes.ts';
import { deltaDecode, deltaEncode } from '../../support/delta.ts';

const fromHex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'));
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const counting = Uint8Array.from({ length: blockSize }, (_, i) => i % 251);

for (const { name, delta, blake3 } of vectors.valid) {
  test(`delta: ${name}`, (t) => {
    t.is(hex(hash(deltaDecode(counting, fromHex(delta))!)), blake3);
    t.is(hex(hash(referenceDeltaDecode(counting, fromHex(delta))!)), blake3);
  });
}

for (const { name, delta } of vectors.malformed) {
  test(`delta: ${name} is refused`, (t) => {
    for (const edge of ['input', 'window'] as const) {
      t.is(deltaDecode(counting, fromHex(delta), edge), undefined);
    }
    t.is(referenceDeltaDecode(counting, fromHex(delta)), undefined);
  });
}

test('delta: what stays takes almost nothing, wherever in the base it was', (t) => {
  const base = noise(blockSize, 1);
  const edited = Uint8Array.from(base);
  edited.set(noise(100, 2), 5000);
  const inserted = Uint8Array.from(base);
  inserted.set(base.subarray(20_000, blockSize - 9), 20_009);
  inserted.set(noise(9, 3), 20_000);
  const removed = Uint8Array.from(base);
  removed.set(base.subarray(20_009), 20_000);
  const swapped = Uint8Array.from(base);
  swapped.set(base.subarray(blockSize / 2), 0);
  swapped.set(base.subarray(0, blockSize / 2), blockSize / 2);
  const sizes = [base, edited, inserted, removed, swapped].map((block) => {
    const delta = deltaEncode(base, block)!;
    t.is(Buffer.compare(deltaDecode(base, delta)!, block), 0);
    return delta.length;
  });
  t.true(sizes[0]! <= 8, `equal: ${sizes[0]}`);
  t.true(sizes[1]! <= 120, `100 bytes changed: ${sizes[1]}`);
  t.true(sizes[2]! <= 40, `9 bytes put in: ${sizes[2]}`);
  t.true(sizes[3]! <= 40, `9 bytes taken out: ${sizes[3]}`);
  t.true(sizes[4]! <= 40, `halves swapped: ${sizes[4]}`);
});

test('delta: a block that has nothing of its base is given up within the capacity', (t) => {
  const [base, block] = [noise(blockSize, 1), noise(blockSize, 99)];
  for (const capacity of [1, 9, 100, 4096, blockSize - 1024]) {
    t.is(deltaEncode(base, block, capacity), undefined);
  }
  const loose = deltaEncode(base, block, blockSize + 1024)!;
  t.is(Buffer.compare(deltaDecode(base, loose)!, block), 0);
});

import test from 'ava';
import { IndependentDecoder } from '../../../../plugins/repository/archive/independent-decoder.ts';
import { Prover } from '../../../../plugins/repository/archive/prover.ts';
import type { PlacedBlock } from '../../../../plugins/repository/targets/lz4-frame.ts';
import { Code } from '../../../../sdk/errors.ts';
import { compressBlock } from '../../../../wasm/host/blocks.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';

const plain = Uint8Array.from({ length: 65536 }, (_, i) => (i >> 5) & 255);
const packed = compressBlock(plain);

function place(file: Uint8Array, index: number): PlacedBlock {
  const frameOffset = index * packed.length;
  file.set(packed, 100 + frameOffset);
  return { index, encoding: 'lz4', bytes: packed, frameOffset };
}

function prover(file: Uint8Array, samples: number | 'all', random = () => 0.5) {
  const read = async (position: number, target: Uint8Array) => {
    target.set(file.subarray(position, position + target.length));
  };
  return new Prover(read, samples, random);
}

test('prover: a block that the file does not hold as it was given is an unproven export', async (t) => {
  for (const at of [0, 10, packed.length - 1]) {
    const file = new Uint8Array(100 + packed.length);
    const all = prover(file, 'all');
    all.observe(place(file, 0));
    file[100 + at] = file[100 + at]! ^ 0x10;
    const unproven = { code: Code.DATA_LOSS, reason: 'EXPORT_UNPROVEN' };
    const error = await throwsRpc(t, all.finishImage('disk', 100), unproven);
    t.deepEqual(error.metadata, { image: 'disk', block: '0' });
  }
});

test('prover: a sample is drawn from all blocks of an image, each as likely as another', async (t) => {
  const file = new Uint8Array(100 + 50 * packed.length);
  const blocks = Array.from({ length: 50 }, (_, index) => place(file, index));
  const counts = new Array<number>(50).fill(0);
  let state = 1;
  const random = () => {
    state = (state * 48271) % 2147483647;
    return state / 2147483647;
  };
  const read = async (position: number, target: Uint8Array) => {
    const index = (position - 100) / packed.length;
    counts[index] = counts[index]! + 1;
    target.set(packed);
  };
  for (let round = 0; round < 100; round += 1) {
    const some = new Prover(read, 5, random);
    for (const block of blocks) some.observe(block);
    await some.finishImage('disk', 100);
    t.is(some.provenBlocks, 5);
  }
  // 500 draws over 50 blocks: ten each, with some spread.
  t.true(Math.min(...counts) >= 1 && Math.max(...counts) <= 30, counts.join());
});

test('prover: when all are checked, those already in the file are checked at once', async (t) => {
  const file = new Uint8Array(100 + 3 * packed.length);
  const all = prover(file, 'all');
  for (let index = 0; index < 3; index += 1) all.observe(place(file, index));
  await all.written('disk', 100, 2 * packed.length);
  t.is(all.provenBlocks, 2);
  await all.finishImage('disk', 100);
  t.is(all.provenBlocks, 3);
});

test('independent decoder: it decodes blocks, refuses others, and goes on after a refusal', (t) => {
  const decoder = new IndependentDecoder();
  t.deepEqual(decoder.decode(packed), plain);
  for (const bad of [[], [0xf0], [0x1f, 0, 0, 0, 255], [0x10, 65, 9, 9, 9, 9]]) {
    t.is(decoder.decode(Uint8Array.from(bad)), undefined);
    t.deepEqual(decoder.decode(packed), plain);
  }
  t.throws(() => decoder.decode(new Uint8Array(65537)));
});

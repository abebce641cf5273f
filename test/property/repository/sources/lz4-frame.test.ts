import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import { decodeLz4Block } from '../../../../plugins/repository/sources/lz4-frame/decode-block.ts';
import { parseFrameHeader } from '../../../../plugins/repository/sources/lz4-frame/header.ts';
import { openLz4Frame } from '../../../../plugins/repository/sources/lz4-frame/source.ts';
import { encodeZeros } from '../../../../plugins/repository/sources/lz4-frame/zeros.ts';
import { writeLz4Frame } from '../../../../plugins/repository/targets/lz4-frame.ts';
import { RpcError } from '../../../../sdk/errors.ts';
import {
  lz4Wasm,
  packBlock,
  storedBlocks,
} from '../../../integration/repository/targets/stored-blocks.ts';
import { seed, shapedBytes } from '../../../support/block-shapes.ts';
import { tempFolder } from '../../../support/temp-folder.ts';
import { mutate, mutationsIn } from './mutate.ts';

test('lz4 block: what lz4-wasm packed is decoded, into exactly the space it needs', (t) => {
  const property = fc.property(shapedBytes(65536), (plain) => {
    const packed = lz4Wasm.compress(plain).subarray(4);
    const target = new Uint8Array(plain.length);
    if (decodeLz4Block(packed, target) !== plain.length) throw new Error('not decoded');
    if (Buffer.compare(target, plain) !== 0) throw new Error('other bytes');
    if (plain.length === 0) return;
    const small = new Uint8Array(plain.length - 1);
    if (decodeLz4Block(packed, small) !== -1) throw new Error('fits where it cannot');
  });
  t.notThrows(() => fc.assert(property, { seed, numRuns: 200 }));
});

test('lz4 block: arbitrary bytes never write outside of the target', (t) => {
  const property = fc.property(
    fc.uint8Array({ maxLength: 300 }),
    fc.integer({ min: 0, max: 300 }),
    (stored, length) => {
      const guarded = new Uint8Array(length + 64).fill(0xaa);
      const written = decodeLz4Block(stored, guarded.subarray(32, 32 + length));
      if (written > length) throw new Error(`${written} bytes into ${length}`);
      const outside = [...guarded.subarray(0, 32), ...guarded.subarray(32 + length)];
      if (outside.some((byte) => byte !== 0xaa)) throw new Error('wrote outside');
    },
  );
  t.notThrows(() => fc.assert(property, { seed, numRuns: 3000 }));
});

test('lz4 block: the block of zeros decodes to zeros at every length, here and in lz4-wasm', (t) => {
  const lengths = fc.oneof(fc.integer({ min: 0, max: 600 }), fc.integer({ min: 0, max: 65536 }));
  const property = fc.property(lengths, (length) => {
    const { encoding, bytes } = encodeZeros(length);
    if (encoding === 'raw') return bytes.length === length && bytes.every((byte) => byte === 0);
    const target = new Uint8Array(length).fill(1);
    const prefixed = new Uint8Array(4 + bytes.length);
    new DataView(prefixed.buffer).setUint32(0, length, true);
    prefixed.set(bytes, 4);
    const foreign = lz4Wasm.decompress(prefixed);
    const ours = decodeLz4Block(bytes, target) === length && target.every((byte) => byte === 0);
    return ours && foreign.length === length && foreign.every((byte) => byte === 0);
  });
  t.notThrows(() => fc.assert(property, { seed, numRuns: 300 }));
});

test('lz4 frame: any frame with bytes changed is read or refused with an RpcError', async (t) => {
  const folder = await tempFolder(t);
  const plain = new Uint8Array(5 * 65536 + 99);
  for (let at = 0; at < plain.length; at += 1) plain[at] = at < 131072 ? 0 : (at * at) >> 7;
  const seedPath = join(folder, 'seed');
  await writeLz4Frame(seedPath, { sizeBytes: plain.length, blocks: () => storedBlocks(plain) });
  const valid = await readFile(seedPath);
  let refused = 0;
  const mutations = mutationsIn([0, 24], [valid.length - 8, valid.length], [0, valid.length]);
  const property = fc.asyncProperty(mutations, async (changes) => {
    const path = join(folder, 'mutant');
    await writeFile(path, mutate(valid, changes, false));
    try {
      const source = await openLz4Frame(path, { sizeMaxBytes: 64 * 65536 });
      try {
        if (source.sizeBytes > 64 * 65536) throw new Error('larger than allowed');
        await source.read(0, new Uint8Array(source.sizeBytes));
      } finally {
        await source.close();
      }
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      refused += 1;
    }
  });
  await fc.assert(property, { seed, numRuns: 400 });
  t.log(`seed ${seed}: ${refused} refused`);
  t.true(refused > 50 && refused < 400);
});

test('lz4 frame: arbitrary bytes behind the magic are refused with an RpcError or understood', (t) => {
  const property = fc.property(fc.uint8Array({ maxLength: 20 }), (rest) => {
    try {
      parseFrameHeader(Buffer.concat([Buffer.from('04224d18', 'hex'), rest]), 'x');
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
    }
  });
  t.notThrows(() => fc.assert(property, { seed, numRuns: 3000 }));
});

test('lz4 frame: any image of any size comes back from its frame', async (t) => {
  const folder = await tempFolder(t);
  const property = fc.asyncProperty(shapedBytes(300_000), async (plain) => {
    const path = join(folder, `${Math.random()}`);
    await writeLz4Frame(path, { sizeBytes: plain.length, blocks: () => storedBlocks(plain) });
    const source = await openLz4Frame(path);
    try {
      const found = new Uint8Array(source.sizeBytes);
      await source.read(0, found);
      if (Buffer.compare(found, plain) !== 0) throw new Error('other bytes');
    } finally {
      await source.close();
    }
  });
  await fc.assert(property, { seed, numRuns: 60 });
  t.true(packBlock(new Uint8Array(65536)) !== undefined);
});

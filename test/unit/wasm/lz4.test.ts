import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import test from 'ava';
// The package has no entry for Node, so its file is named.
import { compress as otherCompress, decompress as otherDecompress } from 'lz4-wasm/lz4_wasm.js';
import { compressBlock, decompressBlock } from '../../../wasm/host/blocks.ts';
import { BlockError } from '../../../wasm/host/errors.ts';
import { referenceCompress, referenceDecompress } from '../../../wasm/reference/lz4.ts';
import vectors from '../../../wasm/vectors/lz4.json' with { type: 'json' };
import { skipUnless } from '../../support/require-tool.ts';

const blockSize = 65536;
const fromHex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'));
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

function samples(): [string, Uint8Array][] {
  const program = readFileSync(process.execPath);
  const text = Buffer.from(readFileSync(new URL(import.meta.url), 'utf8').repeat(20));
  return [
    ['zeros', new Uint8Array(blockSize)],
    ['one byte repeated', new Uint8Array(blockSize).fill(0x5a)],
    ['random bytes', Uint8Array.from(randomBytes(blockSize))],
    ['text', text.subarray(0, blockSize)],
    ['a period of 7', Uint8Array.from({ length: blockSize }, (_, i) => i % 7)],
    ['a period of 300', Uint8Array.from({ length: blockSize }, (_, i) => (i % 300) * 7)],
    ...[1, 200, 400, 600].map((i): [string, Uint8Array] => {
      return [`machine code ${i}`, program.subarray(i * blockSize, (i + 1) * blockSize)];
    }),
    ...[0, 1, 4, 5, 12, 13, 14, 15, 16, 17, 255, 269, 270, 271].map((n): [string, Uint8Array] => {
      return [`${n} equal bytes`, new Uint8Array(n).fill(1)];
    }),
  ];
}

// lz4-wasm puts the plain size before the block.
function withSize(block: Uint8Array, size: number): Uint8Array {
  const prefixed = new Uint8Array(4 + block.length);
  new DataView(prefixed.buffer).setUint32(0, size, true);
  prefixed.set(block, 4);
  return prefixed;
}

/**
 * An LZ4 frame around one block: magic, version 1 with independent blocks, 64 KiB at most, header
 * check, end mark.
 */
function frameOf(plain: Uint8Array): Uint8Array {
  const header = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82];
  const block = compressBlock(plain);
  const isRaw = block.length >= plain.length;
  const size = new Uint8Array(4);
  new DataView(size.buffer).setUint32(0, isRaw ? plain.length + 2 ** 31 : block.length, true);
  const data = isRaw ? plain : block;
  return Buffer.concat([Uint8Array.from(header), size, data, new Uint8Array(4)]);
}

for (const { name, block, plain } of vectors.valid) {
  test(`decompressBlock: ${name}`, (t) => {
    t.is(hex(decompressBlock(fromHex(block), blockSize)), plain);
    t.is(hex(decompressBlock(fromHex(block), plain.length / 2)), plain, 'with no room to spare');
    t.is(hex(referenceDecompress(fromHex(block), blockSize)!), plain);
  });
}

for (const { name, block, maxLength } of vectors.invalid) {
  test(`decompressBlock: refuses ${name}`, (t) => {
    const error = t.throws(() => decompressBlock(fromHex(block), maxLength), {
      instanceOf: BlockError,
    });
    t.is(error?.reason, 'BLOCK_MALFORMED');
    t.is(referenceDecompress(fromHex(block), maxLength), undefined);
  });
}

for (const [name, plain] of samples()) {
  test(`compressBlock: ${name} come back from every decoder`, (t) => {
    const block = compressBlock(plain);
    const expected = hex(plain);
    t.is(hex(decompressBlock(block, plain.length)), expected, 'ours');
    t.is(hex(referenceDecompress(block, plain.length)!), expected, 'reference');
    t.is(hex(otherDecompress(withSize(block, plain.length))), expected, 'lz4-wasm');
    t.true(block.length <= plain.length + plain.length / 255 + 16, 'never longer than the bound');
  });
  test(`decompressBlock: reads what other encoders make of ${name}`, (t) => {
    const expected = hex(plain);
    t.is(hex(decompressBlock(referenceCompress(plain), plain.length)), expected, 'reference');
    t.is(hex(decompressBlock(otherCompress(plain).subarray(4), plain.length)), expected);
  });
}

test('compressBlock: data that repeats shrinks to less than one percent', (t) => {
  t.true(compressBlock(new Uint8Array(blockSize)).length < 655);
});

test('compressBlock: machine code shrinks at least as well as with the greedy reference', (t) => {
  const plain = readFileSync(process.execPath).subarray(200 * blockSize, 201 * blockSize);
  t.true(compressBlock(plain).length < referenceCompress(plain).length * 1.1);
});

test('compressBlock: more than 64 KiB is the fault of the caller', (t) => {
  t.throws(() => compressBlock(new Uint8Array(blockSize + 1)), { message: /at most 65536/ });
});

test('compressBlock: the lz4 command reads our blocks in a frame', (t) => {
  if (!skipUnless(t, 'lz4')) return;
  for (const [name, plain] of samples()) {
    if (plain.length === 0) continue;
    const options = { input: frameOf(plain), maxBuffer: blockSize * 4 };
    t.is(hex(execFileSync('lz4', ['-d', '-c'], options)), hex(plain), name);
  }
});

test('decompressBlock: reads the blocks that the lz4 command makes', (t) => {
  if (!skipUnless(t, 'lz4')) return;
  for (const [name, plain] of samples()) {
    if (plain.length < 64) continue;
    for (const level of ['-1', '-9']) {
      const args = [level, '-q', '-B4', '-BI', '--no-frame-crc', '-c'];
      const frame = execFileSync('lz4', args, { input: plain, maxBuffer: blockSize * 4 });
      const size = frame.readUInt32LE(7);
      const isRaw = size >= 2 ** 31;
      const block = frame.subarray(11, 11 + (isRaw ? size - 2 ** 31 : size));
      t.is(hex(isRaw ? block : decompressBlock(block, plain.length)), hex(plain), name);
    }
  }
});

import { constants, zstdCompressSync } from 'node:zlib';
import test from 'ava';
import { blockSize } from '../../../wasm/host/layout.ts';
import { zstdCompress, zstdDecompress } from '../../../wasm/host/zstd.ts';
import { noise } from '../../support/block-shapes.ts';

const text = Uint8Array.from(Buffer.alloc(blockSize, 'some text that compresses well; '));

function compressed(block: Uint8Array, level: number): Uint8Array {
  const target = new Uint8Array(blockSize);
  return target.subarray(0, zstdCompress(block, level, target));
}

const decodes = (frame: Uint8Array) => zstdDecompress(frame, new Uint8Array(blockSize));

test('zstd: a frame gives its block back, at every level', (t) => {
  for (const block of [text, new Uint8Array(blockSize)]) {
    for (const level of [1, 4, 19]) {
      const plain = new Uint8Array(blockSize);
      t.true(zstdDecompress(compressed(block, level), plain));
      t.is(Buffer.compare(plain, block), 0);
    }
  }
});

test('zstd: a block that does not shrink is told by its length, and nothing is written', (t) => {
  const target = new Uint8Array(blockSize);
  t.true(zstdCompress(noise(blockSize, 1), 4, target) >= blockSize);
  t.true(target.every((byte) => byte === 0));
});

test('zstd: no call leaves a buffer to the garbage collector', (t) => {
  const frame = compressed(text, 1);
  const target = new Uint8Array(blockSize);
  const { arrayBuffers: before } = process.memoryUsage();
  for (let call = 0; call < 100; call++) {
    zstdCompress(text, 1, target);
    zstdDecompress(frame, target);
  }
  t.true(process.memoryUsage().arrayBuffers - before < 10 * blockSize);
});

test('zstd: what is cut, changed or no frame of one block is refused', (t) => {
  const frame = compressed(text, 4);
  const changed = Uint8Array.from(frame);
  changed.fill(0xff, 9);
  const bad: [string, Uint8Array][] = [
    ['nothing', new Uint8Array(0)],
    ['a magic number alone', frame.subarray(0, 4)],
    ['a cut frame', frame.subarray(0, frame.length - 1)],
    ['a changed frame', changed],
    ['two frames', Buffer.concat([frame, frame])],
    ['a byte behind the frame', Buffer.concat([frame, Buffer.from([0])])],
    ['a frame of a smaller block', zstdCompressSync(text.subarray(1), { pledgedSrcSize: 65535 })],
    ['noise', noise(500, 1)],
  ];
  for (const [what, bytes] of bad) t.false(decodes(bytes), what);
});

test('zstd: a bomb takes no more memory than a block', (t) => {
  const bytes = 512 * 1024 * 1024;
  const params = { [constants.ZSTD_c_windowLog]: 27 };
  const bomb = zstdCompressSync(new Uint8Array(bytes), { pledgedSrcSize: bytes, params });
  const liar = Buffer.concat([compressed(text, 4).subarray(0, 7), bomb.subarray(9)]);
  const before = process.resourceUsage().maxRSS;
  for (const frame of [bomb, liar]) t.false(decodes(frame));
  t.true(process.resourceUsage().maxRSS - before < 8 * 1024, 'at most 8 MiB more');
});

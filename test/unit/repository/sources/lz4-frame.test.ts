import test from 'ava';
import { FrameIndex } from '../../../../plugins/repository/sources/lz4-frame/frame-index.ts';
import {
  encodeFrameHeader,
  parseFrameHeader,
} from '../../../../plugins/repository/sources/lz4-frame/header.ts';
import { XxHash32, xxHash32 } from '../../../../plugins/repository/sources/lz4-frame/xxhash32.ts';
import { Code } from '../../../../sdk/errors.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';

test('xxHash32: the published digests come out', (t) => {
  t.is(xxHash32(new Uint8Array(0)), 0x02cc5d05);
  t.is(xxHash32(Buffer.from('a')), 0x550d7456);
  t.is(xxHash32(Buffer.from('abc')), 0x32d153ff);
  t.is(xxHash32(Buffer.from('Nobody inspects the spammish repetition')), 0xe2293b2f);
});

test('xxHash32: pieces give the digest of the whole', (t) => {
  const bytes = Uint8Array.from({ length: 1000 }, (_, i) => (i * 31) & 255);
  for (const piece of [1, 3, 15, 16, 17, 100, 999]) {
    const hash = new XxHash32();
    for (let at = 0; at < bytes.length; at += piece) hash.update(bytes.subarray(at, at + piece));
    t.is(hash.digest(), xxHash32(bytes));
  }
});

test('frame header: the one that is written has the bytes that lz4 --content-size -B4 writes', (t) => {
  t.is(Buffer.from(encodeFrameHeader()).toString('hex'), '04224d18604082');
  const header = parseFrameHeader(encodeFrameHeader(123_456), 'x');
  t.deepEqual(header, {
    headerBytes: 15,
    blockMaxBytes: 65536,
    blockChecksums: false,
    contentChecksum: false,
    contentBytes: 123_456,
  });
});

test('frame header: an absurd content size is refused before anything is read', async (t) => {
  const bytes = encodeFrameHeader(2 ** 50);
  await throwsRpc(t, () => parseFrameHeader(bytes, 'x'), {
    code: Code.INVALID_ARGUMENT,
    reason: 'SOURCE_TOO_LARGE',
  });
});

test('frame index: every run is found again, also after it has grown', (t) => {
  const index = new FrameIndex(65536);
  t.is(index.blocksPerRun, 64);
  for (let block = 0; block < 64 * 1000; block += 1) {
    if (block > 0 && block % 64 === 0) index.closeRun(block / 64, block * 10);
    index.add(block * 10, block % 7 === 3);
  }
  index.closeRun(1000, 640_000);
  t.is(index.runCount, 1000);
  for (const run of [0, 1, 255, 256, 511, 999]) {
    t.deepEqual(index.run(run), { start: run * 640, end: (run + 1) * 640, check: run + 1 });
  }
  for (const block of [0, 3, 10, 63_997, 63_998]) t.is(index.isZero(block), block % 7 === 3);
});

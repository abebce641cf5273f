import { zstdCompressSync } from 'node:zlib';
import test from 'ava';
import { parseHeader } from '../../../../plugins/repository/sources/qcow2/header.ts';
import { zstdFrameBytes } from '../../../../plugins/repository/sources/qcow2/zstd-frame.ts';
import { Code } from '../../../../sdk/errors.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';

/** A version 3 header of an image of 1 GiB with clusters of 64 KiB. */
function validHeader(): Buffer {
  const bytes = Buffer.alloc(65536);
  bytes.writeUInt32BE(0x514649fb, 0);
  bytes.writeUInt32BE(3, 4);
  bytes.writeUInt32BE(16, 20);
  bytes.writeBigUInt64BE(2n ** 30n, 24);
  bytes.writeUInt32BE(2, 36);
  bytes.writeBigUInt64BE(65536n, 40);
  bytes.writeUInt32BE(4, 96);
  bytes.writeUInt32BE(104, 100);
  return bytes;
}

test('qcow2 header: a valid one gives what a reader needs', (t) => {
  t.like(parseHeader(validHeader(), 'x'), {
    version: 3,
    clusterSize: 65536,
    sizeBytes: 2 ** 30,
    l1Entries: 2,
    l1Offset: 65536,
    compression: 'deflate',
    dirty: false,
  });
});

const corrupt = { code: Code.DATA_LOSS, reason: 'SOURCE_CORRUPT' };
const tooLarge = { code: Code.INVALID_ARGUMENT, reason: 'SOURCE_TOO_LARGE' };
const unsupported = { code: Code.UNIMPLEMENTED, reason: 'SOURCE_UNSUPPORTED' };
type Change = (bytes: Buffer) => unknown;
const bad: [string, Change, { code: Code; reason: string }][] = [
  ['clusters of 256 bytes', (bytes) => bytes.writeUInt32BE(8, 20), corrupt],
  ['clusters of 4 GiB', (bytes) => bytes.writeUInt32BE(32, 20), corrupt],
  ['a size of 2^63', (bytes) => bytes.writeBigUInt64BE(2n ** 63n, 24), tooLarge],
  ['an L1 table too short for its size', (bytes) => bytes.writeUInt32BE(1, 36), corrupt],
  ['an L1 table off a cluster', (bytes) => bytes.writeBigUInt64BE(65544n, 40), corrupt],
  ['an L1 table at 2^63', (bytes) => bytes.writeBigUInt64BE(2n ** 63n, 40), corrupt],
  ['snapshots at an odd place', (bytes) => bytes.fill(1, 60, 72), corrupt],
  ['the corrupt bit', (bytes) => bytes.writeBigUInt64BE(2n, 72), corrupt],
  ['an unknown feature', (bytes) => bytes.writeBigUInt64BE(1n << 40n, 72), unsupported],
  ['a header of 1 MiB', (bytes) => bytes.writeUInt32BE(1 << 20, 100), corrupt],
  ['a header of 105 bytes', (bytes) => bytes.writeUInt32BE(105, 100), corrupt],
  [
    'a compression type without its feature',
    (bytes) => {
      bytes.writeUInt32BE(112, 100);
      bytes[104] = 1;
    },
    corrupt,
  ],
  [
    'a backing name beyond its cluster',
    (bytes) => {
      bytes.writeBigUInt64BE(65530n, 8);
      bytes.writeUInt32BE(100, 16);
    },
    corrupt,
  ],
  [
    'a backing name of 4 GiB',
    (bytes) => {
      bytes.writeBigUInt64BE(512n, 8);
      bytes.writeUInt32BE(0xffffffff, 16);
    },
    corrupt,
  ],
  [
    'an extension longer than the header',
    (bytes) => {
      bytes.writeUInt32BE(0xe2792aca, 104);
      bytes.writeUInt32BE(0xfffffff0, 108);
    },
    corrupt,
  ],
];
for (const [title, change, expected] of bad) {
  test(`qcow2 header: ${title} is refused`, async (t) => {
    const bytes = validHeader();
    change(bytes);
    const error = await throwsRpc(t, () => parseHeader(bytes, '/images/x'), expected);
    t.is(error.metadata.path, '/images/x');
  });
}

test('zstd frame: its length is found whatever follows, and nothing is read beyond the bytes', (t) => {
  for (const length of [0, 1, 500, 70_000, 300_000]) {
    const frame = zstdCompressSync(Buffer.alloc(length, 'micromano '));
    t.is(zstdFrameBytes(Buffer.concat([frame, Buffer.alloc(50, 0xfd)])), frame.length);
    for (let cut = 0; cut < Math.min(frame.length, 60); cut += 1) {
      t.is(zstdFrameBytes(frame.subarray(0, cut)), undefined);
    }
  }
});

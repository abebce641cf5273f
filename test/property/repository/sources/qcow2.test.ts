import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { deflateRawSync } from 'node:zlib';
import test from 'ava';
import fc from 'fast-check';
import { parseHeader } from '../../../../plugins/repository/sources/qcow2/header.ts';
import { openQcow2 } from '../../../../plugins/repository/sources/qcow2/source.ts';
import { createQcow2 } from '../../../../plugins/repository/targets/qcow2.ts';
import { RpcError } from '../../../../sdk/errors.ts';
import { seed } from '../../../support/block-shapes.ts';
import { tempFolder } from '../../../support/temp-folder.ts';
import { mutate, mutationsIn } from './mutate.ts';

const mebibyte = 2 ** 20;
/**
 * A run of 1 MiB of image, decompressed clusters and pages of tables: nothing near a claimed size.
 */
const memoryBoundBytes = 160 * mebibyte;

/** A small image with data, holes and a compressed cluster, made without QEMU. */
async function smallImage(folder: string): Promise<Buffer> {
  const path = join(folder, 'seed.qcow2');
  const target = await createQcow2(path, 700 * mebibyte);
  for (const offset of [0, 65536, 5 * mebibyte, 699 * mebibyte]) {
    await target.write(offset, new Uint8Array(65536).fill(1 + (offset % 251)));
  }
  await target.finish();
  const image = await readFile(path);
  const packed = deflateRawSync(Buffer.alloc(65536, 0x61));
  const sectors = Math.ceil(packed.length / 512);
  const l2 = Number(image.readBigUInt64BE(65536) & 0x00fffffffffffe00n);
  const entry = (1n << 62n) | (BigInt(sectors - 1) << 54n) | BigInt(image.length);
  image.writeBigUInt64BE(entry, l2 + 9 * 8);
  return Buffer.concat([image, packed, Buffer.alloc(sectors * 512 - packed.length)]);
}

test('qcow2: any image with bytes changed is read or refused with an RpcError, within bounded memory', async (t) => {
  const folder = await tempFolder(t);
  const valid = await smallImage(folder);
  await writeFile(join(folder, 'valid.qcow2'), valid);
  const untouched = await openQcow2(join(folder, 'valid.qcow2'));
  t.teardown(() => untouched.close());
  await readSome(untouched);
  let refused = 0;
  let readable = 0;
  const before = process.memoryUsage().arrayBuffers;
  const l2 = Number(valid.readBigUInt64BE(65536) & 0x00fffffffffffe00n);
  const tables: [number, number][] = [
    [65536, 65536 + 16],
    [l2, l2 + 80],
    [valid.length - 600, valid.length],
  ];
  const mutations = mutationsIn([4, 112], ...tables, ...tables, [0, valid.length]);
  const property = fc.asyncProperty(mutations, async (changes) => {
    const path = join(folder, 'mutant.qcow2');
    await writeFile(path, mutate(valid, changes));
    try {
      const source = await openQcow2(path, { backingRoots: [] });
      try {
        await readSome(source);
        readable += 1;
      } finally {
        await source.close();
      }
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      refused += 1;
    }
    const used = process.memoryUsage().arrayBuffers - before;
    if (used > memoryBoundBytes) throw new Error(`${used} bytes are held`);
  });
  await fc.assert(property, { seed, numRuns: 400 });
  t.log(`seed ${seed}: ${readable} read, ${refused} refused`);
  t.true(refused > 50 && readable > 50);
});

async function readSome(source: Awaited<ReturnType<typeof openQcow2>>) {
  let covered = 0;
  let reads = 0;
  const buffer = new Uint8Array(65536);
  for await (const { offset, length, kind } of source.extents()) {
    if (offset !== covered || length <= 0) throw new Error('extents leave a gap');
    covered += length;
    if (kind === 'zero' || reads > 8) continue;
    await source.read(offset, buffer);
    source.fileExtents?.(offset, 65536);
    reads += 1;
  }
  if (covered !== source.sizeBytes) throw new Error('extents do not cover the image');
}

test('qcow2: arbitrary bytes as a header are refused with an RpcError or give checked values', (t) => {
  const head = Buffer.alloc(4);
  head.writeUInt32BE(0x514649fb);
  const start = fc.tuple(fc.constantFrom(2, 3, 4, 0), fc.uint8Array({ maxLength: 600 }));
  const property = fc.property(start, ([version, rest]) => {
    const bytes = Buffer.concat([head, Buffer.from([0, 0, 0, version]), rest]);
    try {
      const header = parseHeader(bytes, 'x');
      t.true(header.l1Entries * 8 <= 32 * mebibyte && header.clusterSize <= 2 * mebibyte);
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
    }
  });
  t.notThrows(() => fc.assert(property, { seed, numRuns: 2000 }));
});

/** Whatever interrupts a pack, and however often: the package is the one of an uninterrupted run. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import type { ImageInput } from '../../../../plugins/repository/store/store.ts';
import { Code, RpcError } from '../../../../sdk/errors.ts';
import {
  blockSize,
  MemorySource,
  noise,
  openStore,
  temporaryFolder,
  unpackBytes,
} from '../../../unit/repository/store/support.ts';

/** A source that is lost at some read; never when that is negative. */
class LostSource extends MemorySource {
  left = -1;
  override async read(offset: number, target: Uint8Array): Promise<void> {
    if (this.left-- === 0) throw new RpcError(Code.UNAVAILABLE, 'PEER_LOST', 'the peer is gone');
    await super.read(offset, target);
  }
}

const patterns = [new Uint8Array(blockSize), noise(blockSize, 'one'), noise(blockSize, 'two')];

/** Stretches of equal blocks: holes that the source knows, zeros that it does not, data. */
function render(stretches: readonly { kind: number; blocks: number }[], tail: number) {
  const kinds = stretches.flatMap(({ kind, blocks }) => new Array<number>(blocks).fill(kind));
  const bytes = new Uint8Array(Math.max(0, kinds.length * blockSize - tail));
  for (const [index, kind] of kinds.entries()) {
    const start = index * blockSize;
    const length = Math.min(blockSize, bytes.length - start);
    bytes.set(patterns[kind % 3]!.subarray(0, length), start);
    if (kind % 3 !== 0 && length > 8) new DataView(bytes.buffer).setFloat64(start, index);
  }
  return new LostSource(bytes, (block) => kinds[block] === 3);
}

const stretch = fc.record({ kind: fc.nat({ max: 4 }), blocks: fc.integer({ min: 1, max: 150 }) });

test('pack: any sequence of interruptions and collections gives the same root', async (t) => {
  t.timeout(240_000);
  const property = fc.asyncProperty(
    fc.array(stretch, { minLength: 1, maxLength: 4 }),
    fc.constantFrom(0, 1, 40_000),
    fc.array(fc.record({ reads: fc.nat({ max: 24 }), collects: fc.boolean() }), { maxLength: 6 }),
    fc.constantFrom(blockSize, 40 * blockSize),
    async (stretches, tail, interruptions, checkpointBytesMin) => {
      const options = { checkpointMsMin: 0, checkpointBytesMin, segmentBytesMax: 2_000_000 };
      const store = await openStore(t, join(await temporaryFolder(t), 'repository'), options);
      const source = render(stretches, tail);
      const input: ImageInput = { name: 'd', source, fingerprint: 'same' };
      for (const { reads, collects } of interruptions) {
        source.left = reads;
        await store.pack([input], { packageId: 'p' }).catch((error) => {
          if (error.reason !== 'PEER_LOST') throw error;
        });
        if (collects) await store.gc({ rewriteThreshold: 0.1 });
      }
      source.left = -1;
      const { manifest } = await store.pack([input], { packageId: 'p' });
      const { manifest: other } = await store.pack([input], { packageId: 'q', resume: false });
      if (manifest.images[0]!.root !== other.images[0]!.root) throw new Error('another root');
      await store.gc();
      const { bytes } = await unpackBytes(store, 'p', 'd');
      if (Buffer.compare(bytes, source.bytes) !== 0) throw new Error('other bytes');
      const left = [
        ...(await readdir(join(store.folder, 'tmp'))),
        ...(await store.listUnfinished()),
      ];
      if (left.length > 0) throw new Error(`left over: ${JSON.stringify(left)}`);
      const report = await store.verify();
      if (!report.isWhole) throw new Error(JSON.stringify(report.damages[0]));
    },
  );
  await t.notThrowsAsync(() =>
    fc.assert(property, { numRuns: 12, seed: Number(process.env.NFV_SEED ?? 20261125) }),
  );
});

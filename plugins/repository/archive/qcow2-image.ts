import { blockBytes, plainBlock, type StoredBlock } from '../targets/lz4-frame.ts';
import { checkQcow2Size, Qcow2Writer } from '../targets/qcow2.ts';
import type { Prover } from './prover.ts';
import type { WrittenEntry, ZipWriter } from './zip-writer.ts';

/** Blocks between two looks at what was written, when all of it is proven. */
const proveEvery = 64;

/** Writes an image as a qcow2 file straight into its place in the archive. */
export async function writeQcow2Image(
  zip: ZipWriter,
  name: string,
  sizeBytes: number,
  blocks: AsyncIterable<StoredBlock>,
  prover: Prover,
): Promise<WrittenEntry> {
  checkQcow2Size(name, sizeBytes);
  return zip.addRegion(name, async (region) => {
    const writer = new Qcow2Writer(region, sizeBytes);
    let count = 0;
    for await (const block of blocks) {
      const bytes = plainBlock(block);
      const frameOffset = await writer.write(block.index * blockBytes, bytes);
      prover.observe({ index: block.index, encoding: 'raw', bytes, frameOffset });
      count += 1;
      if (count % proveEvery !== 0) continue;
      await prover.written(name, region.dataStart, Number.POSITIVE_INFINITY);
    }
    return writer.finish();
  });
}

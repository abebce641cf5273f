/**
 * The process that the tests of resuming kill: `node resume-steps.ts FOLDER ID [READS]` packs the
 * image, and kills itself at that read of the source.
 */
import { Store } from '../../../../plugins/repository/store/store.ts';
import { CorePool } from '../../../../wasm/host/core-pool.ts';
import { blockSize, MemorySource, noise } from '../../../unit/repository/store/support.ts';

const runBytes = 64 * blockSize;
/** A checkpoint after each run of blocks. */
export const often = {
  checkpointMsMin: 0,
  checkpointBytesMin: runBytes,
  segmentBytesMax: 3_000_000,
};
export const imageBytes = 6 * runBytes + 77;

/** Every other block is zero, so that the whole is quickly made. */
export function image(): Uint8Array {
  const bytes = new Uint8Array(imageBytes);
  for (let at = 0; at < imageBytes; at += 4 * blockSize) {
    bytes.set(noise(Math.min(blockSize, imageBytes - at), `${at}`), at);
  }
  return bytes;
}

class DeadlySource extends MemorySource {
  left: number;
  constructor(bytes: Uint8Array, left: number) {
    super(bytes);
    this.left = left;
  }
  override async read(offset: number, target: Uint8Array): Promise<void> {
    if (this.left-- <= 0) process.kill(process.pid, 'SIGKILL');
    await super.read(offset, target);
  }
}

async function main(folder: string, packageId: string, reads: number): Promise<void> {
  const pool = await CorePool.open({ workers: 0 });
  const store = await Store.open(folder, { pool, create: true, ...often });
  const source = new DeadlySource(image(), reads);
  const input = { name: 'd', source, fingerprint: 'same' };
  const { resumedBytes } = await store.pack([input], { packageId });
  process.stdout.write(`${resumedBytes}`);
  await store.close();
  await pool.close();
}

if (process.argv[1] === import.meta.filename) {
  const [folder, id, reads = '1000000'] = process.argv.slice(2);
  await main(folder!, id!, Number(reads));
}

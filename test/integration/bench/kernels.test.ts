import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import test from 'ava';
import { skipUnless } from '../../support/require-tool.ts';

const program = new URL('../../../bench/kernels.ts', import.meta.url).pathname;
const smallest = ['--mib', '1', '--rounds', '1', '--processes', '2', '--seconds', '0.01', '--json'];

// That it runs and compares what it says, never that anything is fast.
test('kernels benchmark: every kernel is measured, and paired with every peer', async (t) => {
  if (!skipUnless(t, 'lz4')) return;
  t.timeout(120_000);
  const { stdout } = await promisify(execFile)(process.execPath, [program, ...smallest]);
  const { corpora, figures, ratios, unit } = JSON.parse(stdout);
  t.is(unit, 'MB/s');
  t.deepEqual([corpora.length, corpora[0].name, corpora[0].megabytes], [1, 'disk', 1.048576]);
  t.true(corpora[0].packedRatio > 0.1 && corpora[0].packedRatio <= 1);
  t.true(corpora[0].sizeToNative > 0.9 && corpora[0].sizeToNative < 1.1);
  const pairs = ratios.map((ratio: Record<string, string>) => {
    return `${ratio.group}: ${ratio.ours} to ${ratio.peer}`;
  });
  t.deepEqual(pairs, [
    'compress: LZ4 to lz4-wasm',
    'compress: LZ4 to native lz4 -b1 -B4',
    'decompress: LZ4 to lz4-wasm',
    'decompress: LZ4 to native lz4 -b1 -B4',
    'compare: isEqual to Buffer.equals',
    'hash: BLAKE3 to node sha256',
    'hash: BLAKE3 to hash-wasm blake3',
  ]);
  for (const { name, min, median, max } of [...figures, ...ratios]) {
    t.true(0 < min && min <= median && median <= max, name ?? 'a ratio');
  }
});

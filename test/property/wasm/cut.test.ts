import test from 'ava';
import fc from 'fast-check';
import {
  chunkBytesMax,
  chunkBytesMin,
  cutRun,
  cutRunBytes,
  gearTable,
} from '../../../wasm/host/cut.ts';
import { referenceCut } from '../../../wasm/reference/cut.ts';
import { seed } from '../../support/block-shapes.ts';
import { noise, text } from '../../support/cli/disk-images.ts';

const gear = Array.from(new Uint32Array(gearTable().buffer));

/** Stretches of noise, of one byte and of text, so that there are chunks of all lengths. */
const stretch = fc
  .record({
    kind: fc.constantFrom('noise', 'same', 'text'),
    length: fc.nat(200_000),
    value: fc.nat(255),
  })
  .map(({ kind, length, value }) => {
    if (kind === 'same') return Buffer.alloc(length, value);
    return kind === 'noise' ? noise(`${value}`, length) : text(`${value}`, length);
  });
const run = fc.array(stretch, { maxLength: 6 }).map((parts) => Buffer.concat(parts));

test('cut: the chunks are those of the reference, of allowed lengths, and cover the run', (t) => {
  const property = fc.property(run, (bytes) => {
    const ends = [...cutRun(bytes)];
    t.deepEqual(ends, referenceCut(bytes, gear));
    const lengths = ends.map((end, index) => end - (ends[index - 1] ?? 0));
    t.true(lengths.every((length) => length > 0 && length <= chunkBytesMax));
    t.true(lengths.slice(0, -1).every((length) => length >= chunkBytesMin));
    t.is(ends.at(-1) ?? 0, bytes.length);
  });
  fc.assert(property, { seed, numRuns: 60 });
  t.log(`seed ${seed}`);
});

test('cut: a run of 4 MiB has at most 128 chunks', (t) => {
  const few = noise('run', cutRunBytes);
  t.true(cutRun(few).length > 64 && cutRun(few).length <= 128);
  t.true(cutRun(Buffer.alloc(cutRunBytes)).length <= 128);
});

test('cut: behind something that was put in, the chunks are the same soon', (t) => {
  const old = noise('old', 2_000_000);
  const chunksOf = (bytes: Buffer) => {
    const ends = [...cutRun(bytes)];
    return ends.map((end, index) => bytes.subarray(ends[index - 1] ?? 0, end).toString('latin1'));
  };
  const before = new Set(chunksOf(old));
  for (const [at, length] of [
    [0, 1],
    [700_001, 5000],
  ] as const) {
    const longer = Buffer.concat([old.subarray(0, at), noise('new', length), old.subarray(at)]);
    const fresh = chunksOf(longer).filter((chunk) => !before.has(chunk));
    t.true(fresh.length <= 6, `${fresh.length} new chunks`);
  }
});

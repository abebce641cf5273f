import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import {
  type ChangedMap,
  differenceOf,
  rebase,
} from '../../../../plugins/drivers/wasmvm/changed-map.ts';
import {
  logBytes,
  logExtents,
  markWritten,
  mergeLog,
  rotateLog,
} from '../../../../plugins/drivers/wasmvm/machine/change-log.ts';
import {
  decodeDeviceState,
  encodeDeviceState,
} from '../../../../plugins/drivers/wasmvm/machine/device-state.ts';
import { copySparse } from '../../../../plugins/drivers/wasmvm/machine/sparse-copy.ts';
import { outlineProgram } from '../../../../plugins/drivers/wasmvm/program/sections.ts';
import { RpcError } from '../../../../sdk/errors.ts';
import { tempFolder } from '../../../support/temp-folder.ts';
import { tinyProgram } from '../../../support/wasmvm/tiny-programs.ts';

const blockBytes = 65536;
const frame = fc.uint8Array({ minLength: 14, maxLength: 1514 });
const number = fc.oneof(
  fc.integer(),
  fc.double(),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
);

test('device state: what is encoded is decoded, whatever is in it', (t) => {
  const state = fc.record({
    programId: fc.stringMatching(/^[0-9a-f]{64}$/),
    ticks: fc.nat(),
    random: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    frames: fc.array(fc.array(frame, { maxLength: 4 }), { maxLength: 3 }),
    lines: fc.array(fc.string({ maxLength: 100 }), { maxLength: 4 }),
    globals: fc.dictionary(fc.stringMatching(/^[a-z]{1,8}$/), number, { maxKeys: 4 }),
  });
  fc.assert(
    fc.property(state, (value) => {
      const { globals, ...rest } = decodeDeviceState(encodeDeviceState(value));
      const { globals: expected, ...others } = value;
      t.deepEqual(rest, others);
      for (const [name, item] of Object.entries(expected)) t.true(Object.is(globals[name], item));
    }),
    { numRuns: 100 },
  );
});

test('decoders: arbitrary bytes and flipped bytes give an RpcError or a value, never anything else', (t) => {
  const whole = [tinyProgram({ global: 'g' }), encodeDeviceState(sample)];
  const flipped = fc
    .tuple(fc.constantFrom(...whole), fc.nat(), fc.nat(255))
    .map(([bytes, at, value]) => {
      const copy = bytes.slice();
      copy[at % copy.length] = value;
      return copy;
    });
  const bytes = fc.oneof(fc.uint8Array({ maxLength: 200 }), flipped);
  t.notThrows(() =>
    fc.assert(
      fc.property(bytes, (input) => {
        for (const decode of [outlineProgram, decodeDeviceState]) {
          try {
            decode(input);
          } catch (error) {
            if (!(error instanceof RpcError)) throw error;
          }
        }
      }),
      { numRuns: 2000 },
    ),
  );
});

const sample = {
  programId: '0'.repeat(64),
  ticks: 3,
  random: 5n,
  frames: [[new Uint8Array(14)]],
  lines: ['{}'],
  globals: { g: 1, h: 2n },
};

test('change log: every block that a write touches is in the extents, and no other', (t) => {
  const sizeBytes = 40 * blockBytes - 512;
  const write = fc
    .tuple(fc.nat(sizeBytes - 1), fc.nat(3 * blockBytes))
    .map(([offset, length]) => ({ offset, length: Math.min(length, sizeBytes - offset) }));
  fc.assert(
    fc.property(fc.array(write, { maxLength: 10 }), (writes) => {
      const log = new Uint8Array(new SharedArrayBuffer(logBytes(sizeBytes)));
      for (const { offset, length } of writes) markWritten(log, offset, length);
      const expected = new Set<number>();
      for (const { offset, length } of writes) {
        for (let at = offset; at < offset + length; at++) expected.add(Math.floor(at / blockBytes));
      }
      const found = new Set<number>();
      let end = -1;
      for (const { start, length } of logExtents(log, sizeBytes)) {
        if (start <= end || start + length > sizeBytes) throw new Error('not ordered');
        end = start + length;
        for (let at = start; at < end; at += blockBytes) found.add(at / blockBytes);
      }
      t.deepEqual([...found].sort(), [...expected].sort());
      const taken = rotateLog(log);
      t.deepEqual(logExtents(log, sizeBytes), []);
      mergeLog(log, taken);
      t.deepEqual([...log], [...taken]);
    }),
    { numRuns: 50 },
  );
});

/** A tree of versions of an 8-block disk: each is made of an earlier one by changing some blocks. */
const tree = fc.array(fc.record({ parent: fc.nat(), changed: fc.nat(255), gone: fc.boolean() }), {
  minLength: 2,
  maxLength: 12,
});

test('differenceOf: the map of any two versions covers every block that differs, also after deletions', (t) => {
  t.notThrows(() =>
    fc.assert(
      fc.property(tree, fc.nat(), fc.nat(), (steps, left, right) => {
        const { maps, contents } = grow(steps);
        const ids = [...contents.keys()].filter((id) => maps.has(id));
        const [from, to] = [ids[left % ids.length] as string, ids[right % ids.length] as string];
        const bits = differenceOf(image(from), image(to), ({ snapshotId }) => maps.get(snapshotId));
        if (bits === undefined) return;
        for (let block = 0; block < 8; block++) {
          const differs = contents.get(from)?.[block] !== contents.get(to)?.[block];
          if (differs) t.true((((bits[0] ?? 0) >> block) & 1) === 1, `${from} ${to} ${block}`);
        }
      }),
      { numRuns: 500 },
    ),
  );
});

const image = (snapshotId: string) => ({ snapshotId, imageName: 'data' });

function grow(steps: { parent: number; changed: number; gone: boolean }[]) {
  const contents = new Map<string, number[]>([['s0', new Array(8).fill(0)]]);
  const maps = new Map<string, ChangedMap | undefined>([['s0', undefined]]);
  for (const [index, { parent, changed }] of steps.entries()) {
    const base = `s${parent % contents.size}`;
    const bits = Uint8Array.of(changed);
    const next = (contents.get(base) as number[]).map((value, block) =>
      (changed >> block) & 1 ? index + 1 : value,
    );
    contents.set(`s${index + 1}`, next);
    maps.set(`s${index + 1}`, { base: image(base), bits });
  }
  for (const [index, { gone }] of steps.entries()) {
    if (gone && maps.size > 2) drop(maps, `s${index + 1}`);
  }
  return { contents, maps };
}

/** What a deletion does to the maps that began at what goes away. */
function drop(maps: Map<string, ChangedMap | undefined>, id: string): void {
  const own = maps.get(id);
  maps.delete(id);
  for (const [other, map] of maps) {
    if (map?.base.snapshotId === id) maps.set(other, rebase(map, own));
  }
}

test('copySparse: the copy is equal, whatever is zero', async (t) => {
  const folder = await tempFolder(t);
  const shape = fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 1, max: 2 * blockBytes })), {
    maxLength: 6,
  });
  let run = 0;
  await fc.assert(
    fc.asyncProperty(shape, async (parts) => {
      const bytes = Buffer.concat(
        parts.map(([zero, length]) => Buffer.alloc(length, zero ? 0 : 0xa5)),
      );
      const source = join(folder, `source-${++run}`);
      const target = join(folder, `target-${run}`);
      await writeFile(source, bytes);
      for (const _slice of copySparse(source, target, bytes.length));
      t.true((await readFile(target)).equals(bytes));
    }),
    { numRuns: 25 },
  );
});

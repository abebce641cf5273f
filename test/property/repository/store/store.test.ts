/**
 * The store against a model that is a Map: any sequence of operations, and nothing is ever lost or
 * mixed up.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import type { Store } from '../../../../plugins/repository/store/store.ts';
import {
  blockSize,
  MemorySource,
  noise,
  openStore,
  temporaryFolder,
  unpackBytes,
} from '../../../unit/repository/store/support.ts';

/** What is known about the world: each package's image. */
type Model = { packages: Map<string, Uint8Array>; made: number };
type Real = { store: Store; reopen(): Promise<Store> };

/** A block from a small set, so that equal ones are frequent; 0 is a hole. */
const contents = Array.from({ length: 12 }, (_, index) => {
  if (index === 0) return new Uint8Array(blockSize);
  if (index % 2 === 0) return new Uint8Array(Buffer.alloc(blockSize, `text ${index} `));
  return noise(blockSize, `noise ${index}`);
});

function render(blocks: readonly number[], tail: number): Uint8Array {
  const bytes = new Uint8Array(Math.max(0, blocks.length * blockSize - tail));
  for (const [index, block] of blocks.entries()) {
    const start = index * blockSize;
    bytes.set(contents[block]!.subarray(0, Math.max(0, bytes.length - start)), start);
  }
  return bytes;
}

/** The n-th package of the model, or undefined. */
function nth(model: Model, number: number): string | undefined {
  const ids = [...model.packages.keys()];
  return ids[number % Math.max(1, ids.length)];
}

class PackNew implements fc.AsyncCommand<Model, Real> {
  private readonly blocks: number[];
  private readonly tail: number;
  constructor(blocks: number[], tail: number) {
    this.blocks = blocks;
    this.tail = tail;
  }
  check = () => true;
  async run(model: Model, real: Real): Promise<void> {
    const id = `p${model.made++}`;
    const bytes = render(this.blocks, this.tail);
    const source = new MemorySource(bytes, (block) => this.blocks[block] === 0);
    await real.store.pack([{ name: 'd', source }], { packageId: id });
    model.packages.set(id, bytes);
  }
  toString = () => `pack(${this.blocks.join(' ')} -${this.tail})`;
}

class PackChild implements fc.AsyncCommand<Model, Real> {
  private readonly parent: number;
  private readonly edits: { at: number; block: number }[];
  private readonly withMap: boolean;
  private readonly size: number;
  constructor(
    parent: number,
    edits: { at: number; block: number }[],
    withMap: boolean,
    size: number,
  ) {
    this.parent = parent;
    this.edits = edits;
    this.withMap = withMap;
    this.size = size;
  }
  check = (model: Readonly<Model>) => model.packages.size > 0;
  async run(model: Model, real: Real): Promise<void> {
    const parent = nth(model, this.parent)!;
    const before = model.packages.get(parent)!;
    const bytes = new Uint8Array(Math.max(0, before.length + this.size));
    bytes.set(before.subarray(0, bytes.length));
    const changed: { start: number; length: number }[] = [];
    for (const { at, block } of this.edits) {
      const start = at * blockSize;
      if (start >= bytes.length) continue;
      bytes.set(contents[block]!.subarray(0, bytes.length - start), start);
      changed.push({ start, length: Math.min(blockSize, bytes.length - start) });
    }
    const id = `p${model.made++}`;
    const source = new MemorySource(bytes);
    const input = { name: 'd', source, ...(this.withMap && { changed }) };
    const { images } = await real.store.pack([input], { packageId: id, parent });
    if (images[0]!.mapSource === 'map-rejected') throw new Error(images[0]!.mapReason);
    model.packages.set(id, bytes);
  }
  toString = () =>
    `child(${this.parent}, ${JSON.stringify(this.edits)}, ${this.withMap}, ${this.size})`;
}

class Delete implements fc.AsyncCommand<Model, Real> {
  private readonly number: number;
  constructor(number: number) {
    this.number = number;
  }
  check = (model: Readonly<Model>) => model.packages.size > 0;
  async run(model: Model, real: Real): Promise<void> {
    const id = nth(model, this.number)!;
    await real.store.delete(id);
    model.packages.delete(id);
  }
  toString = () => `delete(${this.number})`;
}

class Collect implements fc.AsyncCommand<Model, Real> {
  private readonly threshold: number;
  constructor(threshold: number) {
    this.threshold = threshold;
  }
  check = () => true;
  async run(model: Model, real: Real): Promise<void> {
    await real.store.gc({ rewriteThreshold: this.threshold });
    if (model.packages.size > 0) return;
    const left = await readdir(join(real.store.folder, 'segments'));
    if (left.length > 0) throw new Error(`${left.length} segments are left without a package`);
  }
  toString = () => `gc(${this.threshold})`;
}

class Reopen implements fc.AsyncCommand<Model, Real> {
  check = () => true;
  async run(_model: Model, real: Real): Promise<void> {
    real.store = await real.reopen();
  }
  toString = () => 'reopen';
}

class Check implements fc.AsyncCommand<Model, Real> {
  check = () => true;
  async run(model: Model, real: Real): Promise<void> {
    await checkAll(model, real.store);
  }
  toString = () => 'check';
}

async function checkAll(model: Model, store: Store): Promise<void> {
  const { packages } = await store.list();
  const listed = packages.map(({ id }) => id).sort();
  const expected = [...model.packages.keys()].sort();
  if (listed.join() !== expected.join()) throw new Error(`listed ${listed}, expected ${expected}`);
  for (const [id, bytes] of model.packages) {
    const back = await unpackBytes(store, id, 'd');
    if (Buffer.compare(back.bytes, bytes) !== 0) throw new Error(`package ${id} differs`);
  }
  const report = await store.verify();
  if (!report.isWhole) throw new Error(JSON.stringify(report.damages[0]));
}

const block = fc.nat({ max: contents.length - 1 });
const edit = fc.record({ at: fc.nat({ max: 140 }), block });
const someBlocks = fc.oneof(
  fc.array(block, { maxLength: 6 }),
  // More than one page, mostly holes.
  fc.array(block, { maxLength: 4 }).map((last) => [...new Array(127).fill(0), ...last]),
);
const tail = fc.constantFrom(0, 0, 1, blockSize - 1, 40_000);
const growth = fc.constantFrom(0, 0, 0, 1, -1, blockSize, -blockSize, 3 * blockSize + 7);
const commands = fc.commands(
  [
    fc.tuple(someBlocks, tail).map(([blocks, cut]) => new PackNew(blocks, cut)),
    fc
      .tuple(fc.nat(9), fc.array(edit, { maxLength: 4 }), fc.boolean(), growth)
      .map(([parent, edits, withMap, size]) => new PackChild(parent, edits, withMap, size)),
    fc.nat(9).map((number) => new Delete(number)),
    fc.constantFrom(0.1, 0.5, 1).map((threshold) => new Collect(threshold)),
    fc.constant(new Reopen()),
    fc.constant(new Check()),
  ],
  { maxCommands: 25 },
);

test('store: any sequence of pack, child, delete, gc and reopen keeps every package', async (t) => {
  t.timeout(240_000);
  await t.notThrowsAsync(() =>
    fc.assert(
      fc.asyncProperty(
        commands,
        fc.constantFrom(200_000, 256 * 1024 * 1024),
        // With the second, almost everything is looked up in the file.
        fc.constantFrom(1_000_000, 5),
        async (list, bytesMax, memoryEntriesMax) => {
          const folder = join(await temporaryFolder(t), 'repository');
          const open = () => openStore(t, folder, { segmentBytesMax: bytesMax, memoryEntriesMax });
          const real: Real = { store: await open(), reopen: open };
          const model: Model = { packages: new Map(), made: 0 };
          await fc.asyncModelRun(() => ({ model, real }), list);
          await checkAll(model, real.store);
        },
      ),
      { numRuns: 40, seed: Number(process.env.NFV_SEED ?? 20261122) },
    ),
  );
});

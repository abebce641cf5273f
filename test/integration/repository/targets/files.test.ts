import { spawnSync } from 'node:child_process';
import { open, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { openQcow2 } from '../../../../plugins/repository/sources/qcow2/source.ts';
import { NewFile, sweepPartials } from '../../../../plugins/repository/targets/new-file.ts';
import { createQcow2 } from '../../../../plugins/repository/targets/qcow2.ts';
import { createRaw } from '../../../../plugins/repository/targets/raw.ts';
import { Code } from '../../../../sdk/errors.ts';
import { skipUnless } from '../../../support/require-tool.ts';
import { tempFolder } from '../../../support/temp-folder.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';
import { below, equal, randomBytes, randomNumbers, readByExtents, run } from '../sources/images.ts';

test('raw target: it appears when finished, with its size and its holes', async (t) => {
  const folder = await tempFolder(t);
  const path = join(folder, 'a.raw');
  const target = await createRaw(path, 100 * 2 ** 20 + 77);
  const bytes = randomBytes(randomNumbers(1), 65536);
  await target.write(50 * 2 ** 20, bytes);
  t.false((await readdir(folder)).includes('a.raw'));
  await target.finish();
  t.deepEqual(await readdir(folder), ['a.raw']);
  const { size, blocks } = await stat(path);
  t.is(size, 100 * 2 ** 20 + 77);
  t.true(blocks * 512 < 2 ** 20);
  const file = await readFile(path);
  t.true(equal(file.subarray(50 * 2 ** 20, 50 * 2 ** 20 + 65536), bytes));
});

test('raw target: aborted it leaves nothing, and it never replaces a file', async (t) => {
  const folder = await tempFolder(t);
  const path = join(folder, 'a.raw');
  const aborted = await createRaw(path, 65536);
  await aborted.write(0, new Uint8Array(65536));
  await aborted.abort();
  t.deepEqual(await readdir(folder), []);
  const late = await createRaw(path, 65536);
  await writeFile(path, 'mine');
  const exists = { code: Code.ALREADY_EXISTS, reason: 'TARGET_EXISTS' };
  await throwsRpc(t, late.finish(), exists);
  t.is(await readFile(path, 'utf8'), 'mine');
  t.deepEqual(await readdir(folder), ['a.raw']);
  await throwsRpc(t, createRaw(join(folder, 'no', 'a.raw'), 1), {
    code: Code.FAILED_PRECONDITION,
    reason: 'TARGET_FOLDER_MISSING',
  });
});

test('new file: a disk without space is RESOURCE_EXHAUSTED and names the file', async (t) => {
  const folder = await tempFolder(t);
  const file = await NewFile.create(join(folder, 'a'));
  t.teardown(() => file.abort());
  const full = await open('/dev/full', 'r+');
  t.teardown(() => full.close());
  // The same write path on a device that has no space ever.
  const onFull = Object.create(file, { fd: { value: full.fd } }) as NewFile;
  const error = await throwsRpc(t, NewFile.prototype.write.call(onFull, 0, new Uint8Array(10)), {
    code: Code.RESOURCE_EXHAUSTED,
    reason: 'TARGET_NO_SPACE',
  });
  t.is(error.metadata.path, file.path);
});

/** A process that dies while it writes this file. */
async function killedWriter(path: string) {
  const module = new URL('../../../../plugins/repository/targets/new-file.ts', import.meta.url);
  const script = `
    const { NewFile } = await import(${JSON.stringify(module.href)});
    const file = await NewFile.create(${JSON.stringify(path)});
    await file.write(0, new Uint8Array(10));
    process.kill(process.pid, 'SIGKILL');`;
  spawnSync(process.execPath, ['--input-type=module', '-e', script]);
}

test('new file: what a dead process left is swept, what a live one writes is not', async (t) => {
  const folder = await tempFolder(t);
  await killedWriter(join(folder, 'dead'));
  const mine = await NewFile.create(join(folder, 'mine'));
  t.teardown(() => mine.abort());
  await writeFile(join(folder, '.x.1234.partial'), 'not ours');
  const again = await NewFile.create(join(folder, 'other'));
  t.teardown(() => again.abort());
  t.is((await readdir(folder)).length, 4);
  const removed = await sweepPartials(folder);
  t.is(removed.length, 1);
  t.regex(removed[0]!, /^\.dead\..*\.partial$/);
  t.is((await readdir(folder)).length, 3);
});

test('new file: what a dead process of the same id left is swept too, as after a restart in a container', async (t) => {
  const folder = await tempFolder(t);
  await killedWriter(join(folder, 'dead'));
  const [left] = await readdir(folder);
  const renamed = left!.replace(/@\d+-/, `@${process.pid}-`);
  await rename(join(folder, left!), join(folder, renamed));
  const mine = await NewFile.create(join(folder, 'mine'));
  t.teardown(() => mine.abort());
  t.deepEqual(await sweepPartials(folder), [renamed]);
  t.is((await readdir(folder)).length, 1);
});

test('new file: a second try clears up after a first that was killed', async (t) => {
  const folder = await tempFolder(t);
  await killedWriter(join(folder, 'archive'));
  t.is((await readdir(folder)).length, 1);
  const file = await NewFile.create(join(folder, 'archive'));
  await file.publish();
  t.deepEqual(await readdir(folder), ['archive']);
});

const sizes = [512, 65536, 70 * 65536, 600 * 2 ** 20 + 1536, 40 * 2 ** 30];
for (const [seed, sizeBytes] of sizes.entries()) {
  test(`qcow2 target: qemu-img finds ${sizeBytes} bytes whole and equal`, async (t) => {
    if (!skipUnless(t, 'qemu-img', 'qemu-io')) return;
    const path = join(await tempFolder(t), 'a.qcow2');
    const random = randomNumbers(seed);
    const target = await createQcow2(path, sizeBytes);
    const blocks = Math.ceil(sizeBytes / 65536);
    const written = new Map<number, Uint8Array>();
    const writes: Promise<void>[] = [];
    for (let i = 0; i < 120; i += 1) {
      const block = i === 0 ? blocks - 1 : below(random, blocks);
      if (written.has(block)) continue;
      const bytes = randomBytes(random, Math.min(65536, sizeBytes - block * 65536));
      written.set(block, bytes);
      writes.push(target.write(block * 65536, bytes));
    }
    await Promise.all(writes);
    await target.finish();
    t.regex(await run('qemu-img', 'check', path), /No errors were found/);
    const description = JSON.parse(await run('qemu-img', 'info', '--output=json', path));
    t.is(description['virtual-size'], sizeBytes);
    const source = await openQcow2(path);
    t.teardown(() => source.close());
    let data = 0;
    for await (const { length, kind } of source.extents()) if (kind === 'data') data += length;
    t.is(
      data,
      [...written.values()].reduce((sum, bytes) => sum + bytes.length, 0),
    );
    for (const [block, bytes] of written) {
      const found = new Uint8Array(bytes.length);
      await source.read(block * 65536, found);
      t.true(equal(found, bytes));
    }
    if (sizeBytes > 2 ** 30) return;
    await run('qemu-img', 'convert', '-O', 'raw', path, `${path}.raw`);
    t.true(equal(await readFile(`${path}.raw`), await readByExtents(source)));
  });
}

test('qcow2 target: a size that is no whole number of sectors is refused', async (t) => {
  const folder = await tempFolder(t);
  await throwsRpc(t, createQcow2(join(folder, 'a.qcow2'), 1000), {
    code: Code.INVALID_ARGUMENT,
    reason: 'IMAGE_SIZE_UNALIGNED',
  });
  t.deepEqual(await readdir(folder), []);
});

test('qcow2 target: a block written twice has the last bytes, and fragmented tables are kept', async (t) => {
  if (!skipUnless(t, 'qemu-img')) return;
  const path = join(await tempFolder(t), 'a.qcow2');
  const span = 512 * 2 ** 20;
  const target = await createQcow2(path, 60 * span);
  // More L2 tables than are held in memory, visited twice.
  for (const fill of [1, 2]) {
    for (let table = 0; table < 60; table += 1) {
      await target.write(table * span + fill * 65536, new Uint8Array(65536).fill(fill));
      await target.write(table * span, new Uint8Array(65536).fill(fill));
    }
  }
  await target.finish();
  t.regex(await run('qemu-img', 'check', path), /No errors were found/);
  const source = await openQcow2(path);
  t.teardown(() => source.close());
  const block = new Uint8Array(3 * 65536);
  for (let table = 0; table < 60; table += 1) {
    await source.read(table * span, block);
    t.deepEqual([block[0], block[65536], block[131072]], [2, 1, 2]);
  }
});

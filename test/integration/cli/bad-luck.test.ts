import type { ChildProcess } from 'node:child_process';
import { access, mkdir, readdir, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { blockSize, noise, sameFiles, text } from '../../support/cli/disk-images.ts';
import { mano, manoFails, manoOk } from '../../support/cli/mano.ts';
import { preparedFolder } from '../../support/cli/prepared-folder.ts';
import { eventually } from '../../support/eventually.ts';
import { fillUp, smallFileSystem } from '../../support/small-file-system.ts';
import { tempFolder } from '../../support/temp-folder.ts';

/** Enough that a command works on it for some tenths of a second. */
const largeBytes = 100 * 2 ** 20;

const prepared = preparedFolder(test, async (_t, folder) => {
  await writeFile(join(folder, 'large.raw'), noise('large', largeBytes));
  await writeFile(join(folder, 'small.raw'), text('small', 3 * blockSize));
});

/** The files of a store that hold data, with how long they are. */
async function sizesBelow(folder: string): Promise<number[]> {
  const names = await readdir(folder, { recursive: true }).catch(() => [] as string[]);
  const sizes = names.map((name) => stat(join(folder, name)).catch(() => undefined));
  return (await Promise.all(sizes)).map((found) => (found?.isFile() ? found.size : 0));
}

/** Sends the signal as soon as a file below `folder` has 4 MB; the command is then in the middle of its work. */
function strike(folder: string, signal: NodeJS.Signals): (child: ChildProcess) => void {
  return async (child) => {
    await eventually('the command writes', async () => {
      return child.exitCode !== null || Math.max(0, ...(await sizesBelow(folder))) > 4_000_000;
    });
    child.kill(signal);
  };
}

async function listed(t: ExecutionContext, folder: string, store = 'store'): Promise<string[]> {
  const { packages } = (await manoOk(t, folder, ['list', '--store', store, '--json'])).json();
  return packages.map((item: { package: string }) => item.package);
}

/** Nothing half-done is listed or left, and the next command does what that one should have done. */
async function packsAfterwards(t: ExecutionContext, folder: string): Promise<void> {
  t.deepEqual(await listed(t, folder), ['before']);
  t.deepEqual(await readdir(join(folder, 'store/tmp')), []);
  const verified = await manoOk(t, folder, ['verify', '--store', 'store', '--json']);
  t.true(verified.json().isWhole);
  await manoOk(t, folder, ['pack', 'large.raw', '--store', 'store', '--id', 'large']);
  await manoOk(t, folder, ['unpack', 'large', '--store', 'store', '--to', 'out']);
  await sameFiles(t, join(folder, 'large.raw'), join(folder, 'out/large.raw'));
}

test('pack: Ctrl-C is exit code 130, leaves nothing half-done, and the next pack succeeds', async (t) => {
  const folder = await prepared(t);
  await manoOk(t, folder, ['pack', 'small.raw', '--store', 'store', '--id', 'before']);
  const onStart = strike(join(folder, 'store'), 'SIGINT');
  const pack = ['pack', 'large.raw', '--store', 'store', '--id', 'large'];
  const expected = { code: 130, reason: 'CANCELLED', text: /cancelled/ };
  await manoFails(t, folder, pack, expected, { onStart });
  // By itself, before anything else could sweep it.
  t.deepEqual(await readdir(join(folder, 'store/tmp')), []);
  await packsAfterwards(t, folder);
});

test('pack: after kill -9 nothing half-done is listed or left, and the next pack succeeds', async (t) => {
  const folder = await prepared(t);
  await manoOk(t, folder, ['pack', 'small.raw', '--store', 'store', '--id', 'before']);
  const onStart = strike(join(folder, 'store'), 'SIGKILL');
  const pack = ['pack', 'large.raw', '--store', 'store', '--id', 'large'];
  t.is((await mano(folder, pack, { onStart })).signal, 'SIGKILL');
  await packsAfterwards(t, folder);
});

test('unpack, export, import: without resume Ctrl-C leaves no file and nothing listed', async (t) => {
  const folder = await prepared(t);
  await manoOk(t, folder, ['pack', 'large.raw', '--store', 'store', '--id', 'p']);
  await manoOk(t, folder, ['export', 'p', 'p.zip', '--store', 'store']);
  const expected = { code: 130, reason: 'CANCELLED', text: /cancelled/ };
  for (const [target, ...args] of [
    ['out', 'unpack', 'p', '--store=store', '--to=out'],
    ['made', 'export', 'p', 'made/x.zip', '--store=store'],
    ['new', 'import', 'p.zip', '--store=new'],
  ]) {
    const place = join(folder, target!);
    if (target !== 'new') await mkdir(place);
    const anew = [...args, '--no-resume'];
    await manoFails(t, folder, anew, expected, { onStart: strike(place, 'SIGINT') });
    if (target !== 'new') t.deepEqual(await readdir(place), [], target);
  }
  t.deepEqual(await listed(t, folder, 'new'), []);
  t.deepEqual(await readdir(join(folder, 'new/tmp')), []);
});

test('unpack: after kill -9 there is no file under the name, and the next unpack succeeds', async (t) => {
  const folder = await prepared(t);
  await manoOk(t, folder, ['pack', 'large.raw', '--store', 'store', '--id', 'p']);
  const unpack = ['unpack', 'p', '--store', 'store', '--to', 'out'];
  const onStart = strike(join(folder, 'out'), 'SIGKILL');
  t.is((await mano(folder, unpack, { onStart })).signal, 'SIGKILL');
  await t.throwsAsync(access(join(folder, 'out/large.raw')), { code: 'ENOENT' });
  await manoOk(t, folder, unpack);
  await sameFiles(t, join(folder, 'large.raw'), join(folder, 'out/large.raw'));
  t.deepEqual(await readdir(join(folder, 'out')), ['large.raw'], 'the part of before is used up');
});

test('pack, gc: several commands work in one repository at a time', async (t) => {
  const folder = await prepared(t);
  const names = ['a', 'b', 'c'];
  for (const name of names) {
    const bytes = [noise('shared', 40 * blockSize), noise(name, 10 * blockSize)];
    await writeFile(join(folder, name), Buffer.concat(bytes));
  }
  const store = ['--store', 'store'];
  await manoOk(t, folder, ['pack', 'small.raw', ...store, '--id', 'before']);
  await Promise.all([
    ...names.map((name) => manoOk(t, folder, ['pack', name, ...store, '--id', name])),
    manoOk(t, folder, ['gc', ...store]),
    manoOk(t, folder, ['verify', ...store]),
  ]);
  t.deepEqual((await listed(t, folder)).sort(), [...names, 'before'].sort());
  t.true((await manoOk(t, folder, ['verify', ...store, '--json'])).json().isWhole);
  for (const name of names) {
    await manoOk(t, folder, ['unpack', name, ...store, '--to', 'out']);
    await sameFiles(t, join(folder, name), join(folder, 'out', name));
  }
});

test('unpack: with one of its targets there already, none is written', async (t) => {
  const folder = await prepared(t);
  await writeFile(join(folder, 'first'), 'first');
  await manoOk(t, folder, ['pack', 'first', 'small.raw', '--store', 'store', '--id', 'p']);
  await mkdir(join(folder, 'out'));
  await writeFile(join(folder, 'out/small.raw'), 'mine');
  const exists = { code: 4, reason: 'TARGET_EXISTS', text: /small\.raw exists already/ };
  await manoFails(t, folder, ['unpack', 'p', '--store', 'store', '--to', 'out'], exists);
  t.deepEqual(await readdir(join(folder, 'out')), ['small.raw']);
});

test('pack: a store without space is exit code 8, keeps what it had, and works again with room', async (t) => {
  const small = await smallFileSystem(t, 8 * 2 ** 20);
  if (small === undefined) return;
  const folder = await tempFolder(t);
  const store = ['--store', join(small, 'store')];
  await writeFile(join(folder, 'a.raw'), noise('a', 2 * 2 ** 20));
  await writeFile(join(folder, 'b.raw'), noise('b', 20 * 2 ** 20));
  await manoOk(t, folder, ['pack', 'a.raw', ...store, '--id', 'a']);
  const full = { code: 8, reason: 'STORE_FULL', text: /no space for \d+ bytes at .*store/ };
  await manoFails(t, folder, ['pack', 'b.raw', ...store, '--id', 'b'], full);
  t.deepEqual(await readdir(join(small, 'store/tmp')), []);
  t.deepEqual(await listed(t, folder, join(small, 'store')), ['a']);
  await manoOk(t, folder, ['unpack', 'a', ...store, '--to', 'out']);
  await sameFiles(t, join(folder, 'a.raw'), join(folder, 'out/a.raw'));
  await truncate(join(folder, 'b.raw'), 3 * 2 ** 20);
  await manoOk(t, folder, ['pack', 'b.raw', ...store, '--id', 'b']);
});

for (const [format, words] of Object.entries({
  raw: ['unpack', 'p', '--to', 'full/out'],
  qcow2: ['unpack', 'p', '--to', 'full/out', '--format', 'qcow2'],
  'raw.lz4': ['unpack', 'p', '--to', 'full/out', '--format', 'raw.lz4'],
  archive: ['export', 'p', 'full/out/p.zip'],
})) {
  test(`${words[0]}: a target without space for ${format} is exit code 8 and leaves no file`, async (t) => {
    const small = await smallFileSystem(t, 4 * 2 ** 20);
    if (small === undefined) return;
    const folder = await tempFolder(t);
    await writeFile(join(folder, 'a.raw'), noise('a', 6 * 2 ** 20));
    await manoOk(t, folder, ['pack', 'a.raw', '--store', 'store', '--id', 'p']);
    await mkdir(join(small, 'out'));
    const args = words.map((word) => word.replace('full', small));
    const full = { code: 8, reason: 'TARGET_NO_SPACE', text: /no space .*/ };
    await manoFails(t, folder, [...args, '--store', 'store'], full);
    t.deepEqual(await readdir(join(small, 'out')), []);
  });
}

test('list, verify: a full store can still be read', async (t) => {
  const small = await smallFileSystem(t, 6 * 2 ** 20);
  if (small === undefined) return;
  const folder = await tempFolder(t);
  const store = ['--store', join(small, 'store')];
  await writeFile(join(folder, 'a.raw'), noise('a', 2 * 2 ** 20));
  await manoOk(t, folder, ['pack', 'a.raw', ...store, '--id', 'a']);
  await fillUp(join(small, 'ballast'));
  t.deepEqual(await listed(t, folder, join(small, 'store')), ['a']);
  t.true((await manoOk(t, folder, ['verify', ...store, '--json'])).json().isWhole);
  await manoOk(t, folder, ['unpack', 'a', ...store, '--to', 'out']);
  await manoOk(t, folder, ['delete', 'a', ...store]);
  await manoOk(t, folder, ['gc', ...store]);
  t.deepEqual(await listed(t, folder, join(small, 'store')), []);
});

/** The real commands, interrupted at any moment and repeated. */
import type { ChildProcess } from 'node:child_process';
import { mkdir, readdir, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { blockSize, noise, overwrite, sameFiles } from '../../support/cli/disk-images.ts';
import { mano, manoFails, manoOk } from '../../support/cli/mano.ts';
import { preparedFolder } from '../../support/cli/prepared-folder.ts';
import { eventually } from '../../support/eventually.ts';

/** Enough that a command works on it for some tenths of a second; the last block is short. */
const largeBytes = 100 * 2 ** 20 + 512;
const store = ['--store', 'store'];

const prepared = preparedFolder(test, async (t, folder) => {
  const zeros = Buffer.alloc(40 * blockSize);
  const bytes = [noise('a', 30 * 2 ** 20), zeros, noise('b', largeBytes)];
  await writeFile(join(folder, 'large.raw'), Buffer.concat(bytes).subarray(0, largeBytes));
  await manoOk(t, folder, ['pack', 'large.raw', ...store, '--id', 'p']);
  await manoOk(t, folder, ['export', 'p', 'p.zip', ...store]);
});

async function largestBelow(folder: string): Promise<number> {
  const names = await readdir(folder, { recursive: true }).catch(() => [] as string[]);
  const found = await Promise.all(
    names.map((name) => stat(join(folder, name)).catch(() => undefined)),
  );
  return Math.max(0, ...found.map((item) => (item?.isFile() ? item.size : 0)));
}

/** Sends the signal as soon as a file below `folder` has that many bytes. */
function strike(folder: string, signal: NodeJS.Signals, bytes: number) {
  return async (child: ChildProcess) => {
    await eventually('the command writes', async () => {
      return child.exitCode !== null || (await largestBelow(folder)) > bytes;
    });
    child.kill(signal);
  };
}

const enough = 20 * 2 ** 20;
const cancelled = { code: 130, reason: 'CANCELLED', text: /cancelled/ };

async function partials(folder: string): Promise<string[]> {
  return (await readdir(folder)).filter((name) => name.endsWith('.partial'));
}

test('pack: after Ctrl-C the same command goes on, and reads only the rest', async (t) => {
  const folder = await prepared(t);
  const pack = ['pack', 'large.raw', '--store', 'new', '--id', 'q'];
  const onStart = strike(join(folder, 'new'), 'SIGINT', enough);
  await manoFails(t, folder, pack, cancelled, { onStart });
  t.deepEqual(await readdir(join(folder, 'new/tmp')), []);
  const list = (await manoOk(t, folder, ['list', '--store', 'new', '--json'])).json();
  t.deepEqual(list.packages, []);
  t.like(list.unfinished, [{ packageId: 'q', images: ['large.raw'] }]);
  await manoOk(t, folder, ['gc', '--store', 'new']);
  const packed = (await manoOk(t, folder, [...pack, '--json'])).json();
  t.true(packed.resumedBytes >= list.unfinished[0].doneBytes, JSON.stringify(packed));
  t.true(packed.resumedBytes > enough / 2);
  t.true(packed.bytesRead <= largeBytes - packed.resumedBytes + blockSize);
  const roots = await Promise.all(
    ['store', 'new'].map(async (name) => {
      const { packages } = (await manoOk(t, folder, ['list', '--store', name, '--json'])).json();
      return packages[0].images[0].root;
    }),
  );
  t.is(roots[0], roots[1]);
  t.deepEqual(await readdir(join(folder, 'new/resume')), []);
  const verified = await manoOk(t, folder, ['verify', '--store', 'new', '--json']);
  t.true(verified.json().isWhole);
});

test('pack: a source that was touched since starts anew and says why', async (t) => {
  const folder = await prepared(t);
  const pack = ['pack', 'large.raw', '--store', 'new', '--id', 'q'];
  const onStart = strike(join(folder, 'new'), 'SIGINT', enough);
  await manoFails(t, folder, pack, cancelled, { onStart });
  await utimes(join(folder, 'large.raw'), new Date(), new Date());
  const again = await manoOk(t, folder, pack);
  t.regex(again.stdout, /started anew: image "large.raw": .*large.raw was changed since/);
  t.notRegex(again.stdout, /resumed/);
});

test('pack: without resume an interrupt leaves nothing, and gc forgets when asked', async (t) => {
  const folder = await prepared(t);
  const pack = ['pack', 'large.raw', '--store', 'new', '--id', 'q'];
  const onStart = strike(join(folder, 'new'), 'SIGINT', enough);
  await manoFails(t, folder, pack, cancelled, { onStart });
  const gc = await manoOk(t, folder, ['gc', '--store', 'new', '--forget-unfinished', '--json']);
  t.like(gc.json(), { forgotten: 1, unfinished: 0 });
  t.deepEqual(await readdir(join(folder, 'new/segments')), []);
  await manoFails(t, folder, [...pack, '--no-resume'], cancelled, { onStart });
  t.deepEqual(await readdir(join(folder, 'new/segments')), []);
  t.deepEqual(await readdir(join(folder, 'new/resume')), []);
});

test('import: after Ctrl-C the same command goes on', async (t) => {
  const folder = await prepared(t);
  const args = ['import', 'p.zip', '--store', 'new'];
  const onStart = strike(join(folder, 'new'), 'SIGINT', enough);
  await manoFails(t, folder, args, cancelled, { onStart });
  t.deepEqual(await readdir(join(folder, 'new/tmp')), []);
  const imported = (await manoOk(t, folder, [...args, '--json'])).json();
  t.true(imported.resumedBytes > enough / 2, JSON.stringify(imported));
  await manoOk(t, folder, ['unpack', 'p', '--store', 'new', '--to', 'out']);
  await sameFiles(t, join(folder, 'large.raw'), join(folder, 'out/large.raw'));
  t.deepEqual(await readdir(join(folder, 'new/resume')), []);
});

type Written = {
  args: string[];
  file: string;
  whole(t: ExecutionContext, folder: string): unknown;
};

const unpackTo = (format: string) => ['unpack', 'p', ...store, '--to=out', `--format=${format}`];
const repacked = async (t: ExecutionContext, folder: string, file: string) => {
  await manoOk(t, folder, ['pack', file, '--store', 'again', '--id', 'r']);
  await manoOk(t, folder, ['unpack', 'r', '--store', 'again', '--to', 'back']);
  const [name] = await readdir(join(folder, 'back'));
  await sameFiles(t, join(folder, 'large.raw'), join(folder, 'back', name!));
};
const kinds: Record<string, Written> = {
  raw: {
    args: unpackTo('raw'),
    file: 'out/large.raw',
    whole: (t, folder) => sameFiles(t, join(folder, 'large.raw'), join(folder, 'out/large.raw')),
  },
  qcow2: {
    args: unpackTo('qcow2'),
    file: 'out/large.raw.qcow2',
    whole: (t, folder) => repacked(t, folder, 'out/large.raw.qcow2'),
  },
  'raw.lz4': {
    args: unpackTo('raw.lz4'),
    file: 'out/large.raw.lz4',
    whole: (t, folder) => repacked(t, folder, 'out/large.raw.lz4'),
  },
  archive: {
    args: ['export', 'p', 'out/p.zip', ...store, '--prove'],
    file: 'out/p.zip',
    whole: (t, folder) => sameFiles(t, join(folder, 'p.zip'), join(folder, 'out/p.zip')),
  },
};

for (const [name, { args, file, whole }] of Object.entries(kinds)) {
  test(`${args[0]}: killed or interrupted, ${name} goes on with what is right of it`, async (t) => {
    const folder = await prepared(t);
    const out = join(folder, 'out');
    await mkdir(out);
    let reached = enough;
    for (const signal of ['SIGKILL', 'SIGINT'] as const) {
      const result = await mano(folder, args, { onStart: strike(out, signal, reached) });
      t.true(result.signal === signal || result.code === 130, result.stderr);
      t.is((await partials(out)).length, 1, 'one file, for a repetition');
      reached += enough;
    }
    // What somebody changed in it meanwhile is found.
    const [left] = await partials(out);
    await overwrite(join(out, left!), 15 * 2 ** 20, noise('x', 100));
    const done = (await manoOk(t, folder, [...args, '--json'])).json();
    t.true(done.resumedBytes > 4 * 2 ** 20, JSON.stringify(done));
    t.true(done.resumedBytes <= 15 * 2 ** 20 + blockSize, JSON.stringify(done));
    t.deepEqual(await readdir(out), [file.slice('out/'.length)]);
    await whole(t, folder);
  });
}

test('unpack, export: without resume an interrupt leaves no file', async (t) => {
  const folder = await prepared(t);
  const out = join(folder, 'out');
  for (const { args } of [kinds.raw!, kinds['raw.lz4']!, kinds.archive!]) {
    await mkdir(out, { recursive: true });
    const onStart = strike(out, 'SIGINT', enough);
    await manoFails(t, folder, [...args, '--no-resume'], cancelled, { onStart });
    t.deepEqual(await readdir(out), []);
  }
});

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { parseNbdAddress } from '../../../plugins/repository/sources/nbd/address.ts';
import { openNbd } from '../../../plugins/repository/sources/nbd/source.ts';
import { noise, sameFiles, text, tool } from '../../support/cli/disk-images.ts';
import { mano, manoFails, manoOk } from '../../support/cli/mano.ts';
import { preparedFolder } from '../../support/cli/prepared-folder.ts';
import { serveDisk } from '../../support/cli/serve-disk.ts';
import { skipUnless } from '../../support/require-tool.ts';

const store = ['--store', 'store'];

/** Two tar archives; the second has a member more, in front of all others. */
const prepared = preparedFolder(test, async (t, folder) => {
  await mkdir(join(folder, 'members'));
  for (let member = 0; member < 12; member++) {
    const bytes = member % 3 === 0 ? text(`${member}`, 700_000) : noise(`${member}`, 900_000);
    await writeFile(join(folder, 'members', `m${member}`), bytes);
  }
  await writeFile(join(folder, 'first'), noise('first', 300_000));
  const members = Array.from({ length: 12 }, (_, member) => `members/m${member}`);
  await tool('tar', '-C', folder, '-cf', join(folder, 'v1.tar'), ...members);
  await tool('tar', '-C', folder, '-cf', join(folder, 'v2.tar'), 'first', ...members);
  const pack = async (file: string, ...words: string[]) =>
    await manoOk(t, folder, ['pack', file, ...store, '--image-name', 'files', ...words]);
  await pack('v1.tar', '--id', 'v1');
  await pack('v2.tar', '--id', 'v2', '--parent', 'v1');
});

test('pack: a tar archive is cut by its content, and a member in front makes little new', async (t) => {
  const folder = await prepared(t);
  const { packages } = (await manoOk(t, folder, ['list', ...store, '--json'])).json();
  const [first, second] = packages.map((item: { images: object[] }) => item.images[0]);
  t.like(first, { chunking: 'content' });
  t.like(second, { chunking: 'content' });
  t.true(second.storedBytes < first.storedBytes * 0.25, `${second.storedBytes}`);
  const fixed = ['pack', 'v2.tar', '--store', 'fixed', '--chunking', 'fixed', '--json'];
  const plain = (await manoOk(t, folder, fixed)).json().images[0];
  t.is(plain.blocks, Math.ceil(plain.logicalBytes / 65536));
});

test('unpack, export, import: what was cut by content comes back in every form', async (t) => {
  if (!skipUnless(t, 'unzip', 'lz4')) return;
  const folder = await prepared(t);
  const v2 = join(folder, 'v2.tar');
  await manoOk(t, folder, ['unpack', 'v2', ...store, '--to', 'raw']);
  await sameFiles(t, v2, join(folder, 'raw/files'));
  await manoOk(t, folder, ['unpack', 'v2', ...store, '--to', 'lz4', '--format', 'raw.lz4']);
  await tool('lz4', '-dq', join(folder, 'lz4/files.raw.lz4'), join(folder, 'lz4/files'));
  await sameFiles(t, v2, join(folder, 'lz4/files'));
  await manoOk(t, folder, ['export', 'v2', 'v2.zip', ...store]);
  await tool('unzip', '-q', join(folder, 'v2.zip'), '-d', join(folder, 'zip'));
  const names = (await tool('find', join(folder, 'zip'), '-name', '*.raw.lz4')).toString().trim();
  await tool('lz4', '-dq', names, join(folder, 'zip/files'));
  await sameFiles(t, v2, join(folder, 'zip/files'));
  await manoOk(t, folder, ['import', 'v2.zip', '--store', 'other']);
  const listed = (await manoOk(t, folder, ['list', '--store', 'other', '--json'])).json();
  t.is(listed.packages[0].images[0].chunking, 'content');
  await manoOk(t, folder, ['unpack', 'v2', '--store', 'other', '--to', 'imported']);
  await sameFiles(t, v2, join(folder, 'imported/files'));
  await manoOk(t, folder, ['delete', 'v1', ...store]);
  await manoOk(t, folder, ['gc', ...store]);
  await manoOk(t, folder, ['verify', ...store]);
  await manoOk(t, folder, ['unpack', 'v2', ...store, '--to', 'alone']);
  await sameFiles(t, v2, join(folder, 'alone/files'));
});

test('serve-disk: an image that is cut by content is read anywhere, and written beside', async (t) => {
  const folder = await prepared(t);
  const plain = await readFile(join(folder, 'v2.tar'));
  const { uri } = await serveDisk(t, folder, ['v2:files', ...store, '--writable']);
  const source = await openNbd(parseNbdAddress(uri));
  t.teardown(() => source.close());
  t.is(source.sizeBytes, plain.length);
  for (const [start, length] of [
    [0, 70_000],
    [4 * 2 ** 20 - 5, 10],
    [8 * 2 ** 20 + 999, 1_500_000],
    [plain.length - 4096, 4096],
  ] as const) {
    const bytes = new Uint8Array(length);
    await source.read(start, bytes);
    t.true(plain.subarray(start, start + length).equals(bytes), `${length} bytes at ${start}`);
  }
});

test('pack: a map and content do not go together', async (t) => {
  const folder = await prepared(t);
  await writeFile(join(folder, 'map.json'), '[]');
  const words = ['pack', 'v2.tar', ...store, '--image-name', 'files', '--parent', 'v1'];
  const mapped = [...words, '--changed-map', 'map.json'];
  const expected = { code: 2, reason: 'FIELD_VIOLATION', text: /chunking: must be fixed/ };
  await manoFails(t, folder, [...mapped, '--chunking', 'content'], expected);
  const usage = await mano(folder, [...words, '--chunking', 'rabin']);
  t.is(usage.code, 2, usage.stderr);
});

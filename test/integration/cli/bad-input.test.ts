import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { blockSize, noise, tool, writeImage } from '../../support/cli/disk-images.ts';
import { mano, manoFails, manoOk } from '../../support/cli/mano.ts';
import { preparedFolder } from '../../support/cli/prepared-folder.ts';
import { skipUnless } from '../../support/require-tool.ts';

const sizeBytes = 10 * blockSize;

/** A folder with `disk.raw`, packed in `store` as `v1`. */
const packed = preparedFolder(test, async (t, folder) => {
  await writeFile(join(folder, 'disk.raw'), noise('disk', sizeBytes));
  await manoOk(t, folder, ['pack', 'disk.raw', '--store', 'store', '--id', 'v1']);
});

const unknown = { code: 3, reason: 'PACKAGE_UNKNOWN', text: /there is no package "nope"/ };
for (const args of [
  ['unpack', 'nope', '--store', 'store', '--to', 'out'],
  ['export', 'nope', 'out', '--store', 'store'],
  ['diff', 'v1', 'nope', '--store', 'store'],
  ['delete', 'nope', '--store', 'store'],
  ['verify', '--package', 'nope', '--store', 'store'],
  ['pack', 'disk.raw', '--parent', 'nope', '--store', 'store'],
]) {
  test(`${args[0]}: an unknown package is exit code 3, names it and leaves nothing behind`, async (t) => {
    const folder = await packed(t);
    await manoFails(t, folder, args, unknown);
    t.deepEqual((await readdir(folder)).sort(), ['disk.raw', 'store']);
  });
}

type Refusal = [what: string, args: string[], code: number, reason: string, text: RegExp];
const store = ['--store', 'store'];
const refusals: Refusal[] = [
  ['a missing image', ['pack', 'no.raw', ...store], 3, 'SOURCE_NOT_FOUND', /no\.raw/],
  ['a folder as image', ['pack', 'store', ...store], 4, 'SOURCE_NOT_A_FILE', /neither a file nor/],
  [
    'an image that is not what --format says',
    ['pack', 'disk.raw', '--format', 'qcow2', ...store],
    2,
    'SOURCE_NOT_QCOW2',
    /disk\.raw is not a qcow2 image/,
  ],
  [
    'the same name twice',
    ['pack', 'disk.raw', './disk.raw', ...store],
    2,
    'FIELD_VIOLATION',
    /names/,
  ],
  [
    'an id with a path in it',
    ['pack', 'disk.raw', '--id=../x', ...store],
    2,
    'FIELD_VIOLATION',
    /letters, digits/,
  ],
  [
    'too many samples',
    ['pack', 'disk.raw', '--samples=70000', ...store],
    2,
    'FIELD_VIOLATION',
    /0 to 65536/,
  ],
  [
    'an id of another content',
    ['pack', 'small', '--id=v1', ...store],
    4,
    'PACKAGE_EXISTS',
    /another content/,
  ],
  [
    'an image it does not have',
    ['unpack', 'v1', '--to=out', '--image=x', ...store],
    3,
    'IMAGE_NOT_FOUND',
    /no image "x"/,
  ],
  [
    'a target that exists',
    ['unpack', 'v1', '--to=.', ...store],
    4,
    'TARGET_EXISTS',
    /disk\.raw exists already/,
  ],
  [
    'a target that is a file',
    ['unpack', 'v1', '--to=small', ...store],
    4,
    'TARGET_FOLDER_MISSING',
    /is a file/,
  ],
  [
    'a target below a file',
    ['unpack', 'v1', '--to=small/x', ...store],
    4,
    'TARGET_FOLDER_MISSING',
    /is a file/,
  ],
  [
    'an archive that exists',
    ['export', 'v1', 'small', ...store],
    4,
    'TARGET_EXISTS',
    /small exists already/,
  ],
  [
    'an archive in no folder',
    ['export', 'v1', 'x/y.zip', ...store],
    4,
    'TARGET_FOLDER_MISSING',
    /folder of .*does not exist/,
  ],
  ['a missing archive', ['import', 'no.zip', ...store], 3, 'SOURCE_NOT_FOUND', /no\.zip/],
  [
    'a missing store',
    ['list', '--store', 'none'],
    3,
    'REPOSITORY_NOT_FOUND',
    /create one by packing/,
  ],
  ['a store that is a file', ['list', '--store', 'small'], 4, 'NOT_A_REPOSITORY', /is a file/],
  [
    'to pack into a file',
    ['pack', 'disk.raw', '--store=small'],
    4,
    'NOT_A_REPOSITORY',
    /is a file/,
  ],
  [
    'a store that is none',
    ['verify', '--store', 'foreign'],
    3,
    'REPOSITORY_NOT_FOUND',
    /no repository/,
  ],
  [
    'to pack into a folder of others',
    ['pack', 'disk.raw', '--store=foreign'],
    4,
    'NOT_A_REPOSITORY',
    /"theirs"/,
  ],
];
for (const [what, args, code, reason, text] of refusals) {
  test(`${args[0]}: ${what} is exit code ${code}, ${reason}, and changes nothing`, async (t) => {
    const folder = await packed(t);
    await writeFile(join(folder, 'small'), 'small');
    await mkdir(join(folder, 'foreign'));
    await writeFile(join(folder, 'foreign/theirs'), 'keep me');
    const files = async () => (await readdir(folder, { recursive: true })).sort();
    const before = await files();
    await manoFails(t, folder, args, { code, reason, text });
    t.deepEqual(await files(), before);
    t.is(await readFile(join(folder, 'small'), 'utf8'), 'small');
  });
}

type BadMap = [what: string, map: string, reason: string, text: RegExp];
const badMaps: BadMap[] = [
  ['is no JSON', '[{"start": 0', 'MAP_INVALID', /is not JSON/],
  ['is a number', '3', 'MAP_INVALID', /must be a list or an object/],
  ['has a negative start', '[{"start": -1, "length": 5}]', 'MAP_INVALID', /\[0\] must have/],
  ['has a length in quotes', '[{"start": 0, "length": "5"}]', 'MAP_INVALID', /\[0\] must have/],
  [
    'names another image',
    '{"b.raw": []}',
    'MAP_INVALID',
    /"b\.raw", which is not packed \(disk\.raw\)/,
  ],
  [
    'goes beyond the end of the image',
    `[{"start": 0, "length": 1}, {"start": ${sizeBytes - 4}, "length": 5}]`,
    'MAP_OUT_OF_RANGE',
    new RegExp(`5 bytes at ${sizeBytes - 4} \\(entry 1\\), but the image has ${sizeBytes}`),
  ],
];
for (const [what, map, reason, text] of badMaps) {
  test(`pack: a changed map that ${what} is ${reason}`, async (t) => {
    const folder = await packed(t);
    await writeFile(join(folder, 'map'), map);
    const args = ['pack', 'disk.raw', '--parent', 'v1', '--changed-map', 'map', ...store];
    await manoFails(t, folder, args, { code: 2, reason, text });
    t.deepEqual(await readdir(join(folder, 'store/packages')), ['v1.manifest']);
  });
}

test('pack: a changed map needs a file that is there, a parent, and names for several images', async (t) => {
  const folder = await packed(t);
  await writeFile(join(folder, 'map'), '[]');
  await writeFile(join(folder, 'other'), 'x');
  const pack = (...args: string[]) => ['pack', 'disk.raw', ...store, ...args];
  const invalid = { code: 2, reason: 'MAP_INVALID' };
  const missing = pack('--parent=v1', '--changed-map=gone');
  await manoFails(t, folder, missing, { ...invalid, text: /gone: cannot be read/ });
  const orphan = { code: 2, reason: 'MAP_WITHOUT_PARENT', text: /no parent package/ };
  await manoFails(t, folder, pack('--changed-map=map'), orphan);
  const several = pack('other', '--parent=v1', '--changed-map=map');
  await manoFails(t, folder, several, { ...invalid, text: /there are 2 images: name them/ });
});

test('pack: an image that became shorter than its map is refused with the numbers', async (t) => {
  const folder = await packed(t);
  await writeFile(join(folder, 'map'), `[{"start": 0, "length": ${sizeBytes}}]`);
  await writeFile(join(folder, 'disk.raw'), noise('disk', sizeBytes - 1));
  const args = ['pack', 'disk.raw', '--parent', 'v1', '--changed-map', 'map', ...store];
  const text = new RegExp(`${sizeBytes} bytes at 0 .*the image has ${sizeBytes - 1}`);
  await manoFails(t, folder, args, { code: 2, reason: 'MAP_OUT_OF_RANGE', text });
});

test('pack: a qcow2 image cut short is exit code 7 and publishes nothing', async (t) => {
  if (!skipUnless(t, 'qemu-img', 'truncate')) return;
  const folder = await packed(t);
  const image = join(folder, 'disk.qcow2');
  await tool('qemu-img', 'convert', '-O', 'qcow2', join(folder, 'disk.raw'), image);
  await tool('truncate', '-s', '-200000', image);
  const result = await mano(folder, ['pack', 'disk.qcow2', '--id', 'cut', ...store, '--json']);
  t.is(result.code, 7, result.stderr);
  t.regex(result.json().error.reason, /^SOURCE_(TRUNCATED|CORRUPT)$/);
  t.true(result.json().error.message.includes('disk.qcow2'));
  t.deepEqual(await readdir(join(folder, 'store/packages')), ['v1.manifest']);
});

test('pack: a qcow2 image whose backing file is missing names that file', async (t) => {
  if (!skipUnless(t, 'qemu-img')) return;
  const folder = await packed(t);
  await writeImage(join(folder, 'base.raw'), sizeBytes);
  const image = join(folder, 'top.qcow2');
  await tool('qemu-img', 'create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', 'base.raw', image);
  await tool('rm', join(folder, 'base.raw'));
  const expected = { code: 3, reason: 'SOURCE_NOT_FOUND', text: /base\.raw/ };
  await manoFails(t, folder, ['pack', 'top.qcow2', ...store], expected);
});

import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { blockSize, noise, sameFiles, text, tool } from '../../support/cli/disk-images.ts';
import { mano, manoFails, manoOk } from '../../support/cli/mano.ts';
import { preparedFolder } from '../../support/cli/prepared-folder.ts';
import { skipUnless } from '../../support/require-tool.ts';
import { type HostileEntry, hostileZip, manifestOf } from '../repository/archive/hostile-zip.ts';

/** A folder with `p.zip`, an honest archive of `disk.raw`, and its files unzipped. */
const exported = preparedFolder(test, async (t, folder) => {
  const pieces = [noise('disk', 5 * blockSize), text('disk', 5 * blockSize)];
  await writeFile(join(folder, 'disk.raw'), Buffer.concat(pieces));
  await manoOk(t, folder, [...'pack disk.raw --store old --id p'.split(' ')]);
  await manoOk(t, folder, [...'export p p.zip --store old'.split(' ')]);
});

/** Asserts that `x.zip` is refused and that nothing of it is anywhere. */
async function refused(
  t: ExecutionContext,
  folder: string,
  bytes: Uint8Array,
  expected: { code: number; reason: string; text: RegExp },
) {
  await writeFile(join(folder, 'x.zip'), bytes);
  const before = (await readdir(folder)).sort();
  const result = await manoFails(t, folder, ['import', 'x.zip', '--store', 'new'], expected);
  t.deepEqual(
    (await readdir(folder)).filter((name) => name !== 'new').sort(),
    before,
    'nothing is written beside the repository',
  );
  const left = await readdir(join(folder, 'new'), { recursive: true }).catch(() => []);
  const files = left.filter((name) => /^(packages|segments|indexes|tmp)\/./.test(name));
  t.deepEqual(files, [], 'nothing is in the repository');
  return result.json().error;
}

const damaged = { code: 7, reason: 'ARCHIVE_DAMAGED' };
const invalid = { code: 2, reason: 'ARCHIVE_INVALID' };
const tooLarge = { code: 8, reason: 'ARCHIVE_TOO_LARGE' };

for (const [what, part] of [
  ['its last byte', 0.999_999],
  ['half of it', 0.5],
  ['all but its first bytes', 0.0001],
] as const) {
  test(`import: an archive that lacks ${what} is refused`, async (t) => {
    const folder = await exported(t);
    const whole = await readFile(join(folder, 'p.zip'));
    const cut = whole.subarray(0, Math.min(whole.length - 1, Math.ceil(whole.length * part)));
    await refused(t, folder, cut, { ...invalid, text: /no whole ZIP archive/ });
  });
}

test('import: one flipped byte in an image is refused with the name of its file', async (t) => {
  const folder = await exported(t);
  const bytes = await readFile(join(folder, 'p.zip'));
  const middle = bytes.indexOf(Buffer.from('04224d18', 'hex')) + 3 * blockSize;
  bytes[middle] = bytes[middle]! ^ 1;
  await refused(t, folder, bytes, { ...damaged, text: /images\/disk\.raw\.raw\.lz4: .*digest/ });
});

// The tests of the archive itself flip every byte that matters; these show that the command heeds them.
for (const part of [0, 0.3, 0.6, 0.9, 0.997, 0.9999]) {
  test(`import: a byte flipped at ${part} of an archive never gives other images`, async (t) => {
    const folder = await exported(t);
    const bytes = await readFile(join(folder, 'p.zip'));
    const at = Math.floor(part * bytes.length);
    bytes[at] = bytes[at]! ^ 4;
    await writeFile(join(folder, 'x.zip'), bytes);
    const { code } = await mano(folder, ['import', 'x.zip', '--store', 'new']);
    const { packages } = (await manoOk(t, folder, ['list', '--store', 'new', '--json'])).json();
    if (code !== 0) return t.deepEqual(packages, []);
    // Fields that carry no meaning (times, versions) may change; what is stored may not.
    await manoOk(t, folder, ['unpack', packages[0].package, '--store', 'new', '--to', 'out']);
    await sameFiles(t, join(folder, 'disk.raw'), join(folder, 'out/disk.raw'));
  });
}

const file = { name: 'VNFSR/record.json', bytes: Buffer.from('{"a": 1}') };
type Case = [
  what: string,
  entries: HostileEntry[],
  expected: { code: number; reason: string },
  text: RegExp,
];
const cases: Case[] = [
  [
    'other bytes than its manifest lists',
    [manifestOf([{ ...file, bytes: Buffer.from('{"a": 2}') }]), file],
    damaged,
    /VNFSR\/record\.json: .*digest/,
  ],
  ...[
    ['../up', /it leaves its folder/],
    ['a/../../b', /it leaves its folder/],
    ['/etc/micromano', /it is absolute/],
    ['C:/x', /it is absolute/],
    ['a\\b', /it has a backslash/],
  ].map(([name, said]): Case => {
    const entry = { name: name as string, bytes: file.bytes };
    return [`the name ${name}`, [manifestOf([file, entry]), file, entry], invalid, said as RegExp];
  }),
  [
    'a symbolic link',
    [manifestOf([file]), { ...file, mode: 0o120777 }],
    invalid,
    /VNFSR\/record\.json/,
  ],
  [
    'a file larger than the archive',
    [manifestOf([file]), { ...file, sizeBytes: 1e9, storedBytes: 1e9 }],
    damaged,
    /record\.json/,
  ],
  [
    'a compressed file that is larger than it says',
    [manifestOf([file]), { ...file, deflate: true, sizeBytes: 4 }],
    damaged,
    /record\.json/,
  ],
  [
    'a bomb',
    [manifestOf([]), { name: 'zeros', bytes: new Uint8Array(8 * 2 ** 20), deflate: true }],
    tooLarge,
    /ratio of compression/,
  ],
  [
    'a bomb for an image',
    [manifestOf([]), { name: 'images/a.raw', bytes: new Uint8Array(8 * 2 ** 20), deflate: true }],
    tooLarge,
    /ratio of compression/,
  ],
  [
    'a file larger than memory has room for',
    [manifestOf([]), { name: 'large', bytes: noise('large', 17 * 2 ** 20) }],
    tooLarge,
    /large: .*allowed are 16777216/,
  ],
];
for (const [what, entries, expected, said] of cases) {
  test(`import: an archive with ${what} is refused`, async (t) => {
    // Those that are refused for their size do not come as far as their digest.
    const listed = entries.filter(({ name }) => name !== 'x.mf');
    const all = expected === tooLarge ? [manifestOf(listed), ...listed] : entries;
    await refused(t, await exported(t), hostileZip(all), { ...expected, text: said });
  });
}

/** The honest archive with its index, its manifest or its frame changed, and right digests again. */
async function forged(
  t: ExecutionContext,
  change: { index?: (index: string) => string; head?: (head: string) => string; frame?: Buffer },
) {
  const folder = await exported(t);
  const [zip, at] = [join(folder, 'p.zip'), (name: string) => tool('unzip', '-p', zip, name)];
  const index = (await at('images/index.json')).toString();
  const files = [
    {
      name: 'images/disk.raw.raw.lz4',
      bytes: change.frame ?? (await at('images/disk.raw.raw.lz4')),
    },
    { name: 'images/index.json', bytes: Buffer.from(change.index?.(index) ?? index) },
  ];
  const manifest = (await at('p.mf')).toString();
  const head = manifest.slice(0, manifest.indexOf('\nSource:'));
  const { bytes } = manifestOf(files, change.head?.(head) ?? head);
  return { folder, zip: hostileZip([{ name: 'p.mf', bytes }, ...files]) };
}

test('import: an archive that is only written anew is read, so forging does forge', async (t) => {
  if (!skipUnless(t, 'unzip')) return;
  const { folder, zip } = await forged(t, {});
  await writeFile(join(folder, 'x.zip'), zip);
  await manoOk(t, folder, ['import', 'x.zip', '--store', 'new']);
  await manoOk(t, folder, ['unpack', 'p', '--store', 'new', '--to', 'out']);
  await sameFiles(t, join(folder, 'disk.raw'), join(folder, 'out/disk.raw'));
});

type Forgery = [
  what: string,
  change: Parameters<typeof forged>[1],
  expected: { code: number; reason: string; text: RegExp },
];
const violation = { code: 2, reason: 'FIELD_VIOLATION' };
const forgeries: Forgery[] = [
  [
    'an image called ../../up',
    { index: (index) => index.replace('"name": "disk.raw"', '"name": "../../up"') },
    { ...violation, text: /name.*parts between/ },
  ],
  [
    'an image called /up',
    { index: (index) => index.replace('"name": "disk.raw"', '"name": "/up"') },
    { ...violation, text: /name.*parts between/ },
  ],
  [
    'a package called ../up',
    { head: (head) => head.replace(/(pkg_unique_id: ).*/, '$1../up') },
    { ...violation, text: /must be 1 to 128 letters/ },
  ],
  [
    'an image of another size',
    { index: (index) => index.replace(/"sizeBytes": \d+/, '"sizeBytes": 65536') },
    { ...damaged, text: /image has 655360 bytes, its index says 65536/ },
  ],
  [
    'another root than its image has',
    { index: (index) => index.replace(/"root": "\w{8}/, '"root": "01234567') },
    { ...damaged, text: /not the one that was exported/ },
  ],
];
for (const [what, change, expected] of forgeries) {
  test(`import: an archive with right digests and ${what} is refused`, async (t) => {
    if (!skipUnless(t, 'unzip')) return;
    const { folder, zip } = await forged(t, change);
    await refused(t, folder, zip, expected);
  });
}

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { ZipFile } from 'yazl';
import { exportArchive } from '../../../../plugins/repository/archive/export.ts';
import {
  type ImportOptions,
  importArchive,
} from '../../../../plugins/repository/archive/import.ts';
import { encodeZeros } from '../../../../plugins/repository/sources/lz4-frame/zeros.ts';
import { Code, RpcError } from '../../../../sdk/errors.ts';
import { tempFolder } from '../../../support/temp-folder.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';
import { equal } from '../sources/images.ts';
import { type HostileEntry, hostileZip, manifestOf } from './hostile-zip.ts';
import { MemoryWriter, memoryPackage } from './memory-package.ts';

const file = { name: 'VNFSR/record.json', bytes: Buffer.from('{"a": 1}') };
const invalid = { code: Code.INVALID_ARGUMENT, reason: 'ARCHIVE_INVALID' };
const damaged = { code: Code.DATA_LOSS, reason: 'ARCHIVE_DAMAGED' };
const tooLarge = { code: Code.RESOURCE_EXHAUSTED, reason: 'ARCHIVE_TOO_LARGE' };

/** Imports bytes as an archive; asserts that they are refused and nothing was published. */
async function refused(
  t: ExecutionContext,
  bytes: Uint8Array,
  expected: { code: Code; reason: string },
  options: ImportOptions = {},
): Promise<RpcError> {
  const path = join(await tempFolder(t), 'x.zip');
  await writeFile(path, bytes);
  const writer = new MemoryWriter();
  const error = await throwsRpc(
    t,
    () => importArchive(path, async () => writer, options),
    expected,
  );
  t.not(writer.state, 'published');
  return error;
}

const unsafeNames = [
  '../up',
  'a/../../b',
  '/etc/passwd',
  'C:/x',
  'a\\b',
  '..',
  'a//b',
  './a',
  'a\0b',
  'a\nb',
  'a ',
  '',
];
for (const name of unsafeNames) {
  test(`import: the name ${JSON.stringify(name)} is refused`, async (t) => {
    const entry = { name, bytes: file.bytes };
    const error = await refused(t, hostileZip([manifestOf([file]), file, entry]), invalid);
    t.is(error.metadata.problem, 'unsafe-name');
  });
}

type Case = [title: string, entries: HostileEntry[], problem: string, expected?: typeof invalid];
const other = { name: 'b', bytes: Buffer.from('bb') };
const cases: Case[] = [
  ['a name that is there twice', [manifestOf([file]), file, file], 'duplicate-name'],
  [
    'names equal but for case',
    [manifestOf([file, other]), file, other, { ...other, name: 'B' }],
    'duplicate-name',
  ],
  ['a symbolic link', [manifestOf([file]), { ...file, mode: 0o120777 }], 'not-a-file'],
  ['a device', [manifestOf([file]), { ...file, mode: 0o060600 }], 'not-a-file'],
  ['a file that the manifest does not list', [manifestOf([file]), file, other], 'unlisted-file'],
  ['a file that the archive lacks', [manifestOf([file, other]), file], 'missing-file'],
  ['no manifest', [file], 'manifest-missing'],
  [
    'two manifests',
    [manifestOf([file]), file, { ...manifestOf([]), name: 'y.mf' }],
    'manifest-missing',
  ],
  ['an encrypted file', [manifestOf([file]), { ...file, flags: 1 }], 'encrypted'],
  ['an unknown compression', [manifestOf([file]), { ...file, method: 12 }], 'unknown-compression'],
  [
    'entries that share bytes',
    [manifestOf([file, other]), file, { ...file, name: 'b', sameAs: 1, localName: 'b' }],
    'headers-disagree',
    damaged,
  ],
  [
    'a header with another name',
    [manifestOf([file]), { ...file, localName: 'VNFSR/recorD.json' }],
    'headers-disagree',
    damaged,
  ],
  [
    'a stored file with two sizes',
    [manifestOf([file]), { ...file, sizeBytes: 9 }],
    'size',
    damaged,
  ],
  [
    'a compressed file larger than it says',
    [manifestOf([file]), { ...file, deflate: true, sizeBytes: 4 }],
    'size',
    damaged,
  ],
  [
    'a compressed file smaller than it says',
    [manifestOf([file]), { ...file, deflate: true, sizeBytes: 40 }],
    'size',
    damaged,
  ],
  [
    'a file larger than the archive',
    [manifestOf([file]), { ...file, sizeBytes: 1e9, storedBytes: 1e9 }],
    'truncated',
    damaged,
  ],
  ['a wrong checksum', [manifestOf([file]), { ...file, crc: 1 }], 'crc', damaged],
  ['a wrong checksum of the manifest', [{ ...manifestOf([file]), crc: 1 }, file], 'crc', damaged],
  [
    'other bytes than the manifest lists',
    [manifestOf([{ ...file, bytes: Buffer.from('{"a": 2}') }]), file],
    'digest',
    damaged,
  ],
  [
    'a manifest without metadata',
    [manifestOf([file], 'something: else\n'), file],
    'manifest-invalid',
  ],
  ['a manifest with a file twice', [manifestOf([file, file]), file], 'manifest-invalid'],
  [
    'a manifest that lists a path upwards',
    [manifestOf([{ ...file, name: '../x' }]), file],
    'unsafe-name',
  ],
  [
    'a manifest that lists a web address',
    [manifestOf([{ ...file, name: 'http://x/y' }]), file],
    'external-file',
  ],
  [
    'a manifest with half a signature',
    [{ name: 'x.mf', bytes: Buffer.from('metadata:\n-----BEGIN CMS-----\nAAAA\n') }],
    'manifest-invalid',
  ],
  [
    'a manifest with a senseless signature',
    [
      {
        name: 'x.mf',
        bytes: Buffer.from('metadata:\n-----BEGIN CMS-----\nAAAA\n-----END CMS-----\n'),
      },
    ],
    'signature',
    damaged,
  ],
];
for (const [title, entries, problem, expected = invalid] of cases) {
  test(`import: ${title} is refused, and the error says so`, async (t) => {
    const error = await refused(t, hostileZip(entries), expected);
    t.is(error.metadata.problem, problem, error.message);
    t.true('file' in error.metadata);
  });
}

test('import: a path in the index of images that leads nowhere is refused', async (t) => {
  const index = (images: unknown) => ({
    name: 'images/index.json',
    bytes: Buffer.from(JSON.stringify({ version: 1, images })),
  });
  const image = { name: 'a', sizeBytes: 1, file: 'images/a.raw.lz4', format: 'raw.lz4' };
  const wrong = [
    [image],
    [{ ...image, file: '../../etc/passwd' }],
    [{ ...image, sizeBytes: -1 }],
    [{ ...image, sizeBytes: 'many' }],
    [{ ...image, root: '12' }],
    [{ ...image, format: 'vmdk' }],
    [{ ...image, surprise: 1 }],
    'none',
  ];
  for (const images of wrong) {
    const entry = index(images);
    const error = await refused(t, hostileZip([manifestOf([entry]), entry]), invalid);
    t.is(error.metadata.problem, 'index-invalid', JSON.stringify(images));
  }
});

test('import: an archive of a newer version is refused as such', async (t) => {
  const head = 'metadata:\n  micromano_archive_version: 2\n';
  const error = await refused(t, hostileZip([manifestOf([file], head), file]), {
    code: Code.FAILED_PRECONDITION,
    reason: 'FORMAT_TOO_NEW',
  });
  t.is(error.metadata.version, '2');
});

test('import: bombs and excess are refused by their declared sizes', async (t) => {
  const zeros = { name: 'zeros', bytes: new Uint8Array(2 ** 20), deflate: true };
  const bomb = await refused(t, hostileZip([manifestOf([zeros]), zeros]), tooLarge);
  t.is(bomb.metadata.limit, 'the ratio of compression');
  const many = Array.from({ length: 40 }, (_, i) => ({ name: `f${i}`, bytes: Buffer.from('x') }));
  const limits = { entriesMax: 40 };
  const crowd = await refused(t, hostileZip([manifestOf(many), ...many]), tooLarge, { limits });
  t.is(crowd.metadata.limit, 'the number of entries');
  const large = { name: 'large', bytes: Buffer.from('x'.repeat(1001)) };
  const small = { limits: { fileMaxBytes: 1000 } };
  await refused(t, hostileZip([manifestOf([large]), large]), tooLarge, small);
  const total = { limits: { filesTotalMaxBytes: 1000 } };
  await refused(t, hostileZip([manifestOf([large]), large]), tooLarge, total);
  const manifest = { limits: { manifestMaxBytes: 10 } };
  await refused(t, hostileZip([manifestOf([large]), large]), tooLarge, manifest);
});

test('import: an image that unpacks to more than its index says is refused', async (t) => {
  const folder = await tempFolder(t);
  const path = join(folder, 'a.zip');
  await exportArchive(memoryPackage({ disk: 20 * 65536 }), path);
  const bytes = await readFile(path);
  const limits = { imageMaxBytes: 19 * 65536 };
  const declared = await refused(t, bytes, tooLarge, { limits });
  t.is(declared.metadata.limit, 'the size of an image');
  await refused(t, bytes, tooLarge, { limits: { imagesTotalMaxBytes: 19 * 65536 } });
  // Here nothing declares a size: the frame itself has to be bounded.
  const block = encodeZeros(65536).bytes;
  const length = Buffer.alloc(4);
  length.writeUInt32LE(block.length);
  const head = Buffer.from('04224d18604082', 'hex');
  const blocks = Array.from({ length: 20 }, () => [length, block]).flat();
  const frame = {
    name: 'images/x.raw.lz4',
    bytes: Buffer.concat([head, ...blocks, Buffer.alloc(4)]),
  };
  await refused(
    t,
    hostileZip([manifestOf([frame]), frame]),
    {
      code: Code.RESOURCE_EXHAUSTED,
      reason: 'SOURCE_TOO_LARGE',
    },
    { limits },
  );
});

test('import: wherever one byte flips or the archive is cut, nothing is published', async (t) => {
  const path = join(await tempFolder(t), 'a.zip');
  await exportArchive(memoryPackage({ disk: 3 * 65536 + 5 }), path);
  const whole = await readFile(path);
  const stride = Math.floor(whole.length / 150);
  const reasons = new Set<string>();
  const attempt = async (bytes: Uint8Array) => {
    await writeFile(path, bytes);
    const writer = new MemoryWriter();
    try {
      await importArchive(path, async () => writer);
      return writer;
    } catch (error) {
      t.true(error instanceof RpcError, String(error));
      reasons.add((error as RpcError).reason);
      t.not(writer.state, 'published');
      return undefined;
    }
  };
  const original = await attempt(whole);
  let unharmed = 0;
  for (let at = 0; at < whole.length; at += at < 200 || at > whole.length - 900 ? 1 : stride) {
    const flipped = Buffer.from(whole);
    flipped[at] = flipped[at]! ^ (1 << (at % 8));
    const writer = await attempt(flipped);
    if (writer === undefined) continue;
    // Fields that carry no meaning (times, versions) may change; what is read may not.
    unharmed += 1;
    t.deepEqual(writer.files, original!.files);
    t.true(equal(writer.images.get('disk')!.plain, original!.images.get('disk')!.plain));
  }
  t.true(unharmed < 400, `${unharmed} flips went unnoticed`);
  for (let cut = 0; cut < whole.length; cut += stride) {
    t.is(await attempt(whole.subarray(0, cut)), undefined, `cut at ${cut}`);
  }
  t.true(reasons.has('ARCHIVE_DAMAGED') && reasons.has('ARCHIVE_INVALID'));
});

test('import: one flipped byte in an image is a wrong digest that names the file', async (t) => {
  const path = join(await tempFolder(t), 'a.zip');
  await exportArchive(memoryPackage({ disk: 9 * 65536 }), path);
  const bytes = await readFile(path);
  const start = bytes.indexOf(Buffer.from('04224d18', 'hex'));
  for (const at of [start + 5, start + 15, start + 300]) {
    const flipped = Buffer.from(bytes);
    flipped[at] = flipped[at]! ^ 4;
    const error = await refused(t, flipped, damaged);
    t.is(error.metadata.problem, 'digest');
    t.is(error.metadata.file, 'images/disk.raw.lz4');
  }
});

test('import: an archive that other tools compressed is read, if its files are listed', async (t) => {
  const folder = await tempFolder(t);
  const zip = new ZipFile();
  const noise = { name: 'VNFSR/record.json', bytes: Buffer.from('{"text": "hello hello hello"}') };
  const raw = { name: 'Files/disk.raw', bytes: Buffer.from('disk'.repeat(50)) };
  const manifest = manifestOf([noise, raw]);
  for (const { name, bytes } of [noise, raw, manifest]) zip.addBuffer(bytes, name);
  zip.addEmptyDirectory('Artifacts/');
  zip.end();
  const pieces: Buffer[] = [];
  for await (const piece of zip.outputStream) pieces.push(piece as Buffer);
  const path = join(folder, 'y.zip');
  await writeFile(path, Buffer.concat(pieces));
  const writer = new MemoryWriter();
  const { about } = await importArchive(path, async () => writer, { scratchFolder: folder });
  t.true(about.foreign);
  t.deepEqual(writer.files.get(noise.name), noise.bytes);
  t.deepEqual(Buffer.from(writer.images.get('disk')!.plain), raw.bytes);
});

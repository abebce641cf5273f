/** Pins the bytes of format version 1: whoever changes them makes a new version. */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { formatFramed, parseFramed } from '../../../../plugins/repository/store/framed-text.ts';
import {
  content,
  decodeIndex,
  encodeIndexHeader,
  encoding,
  entryBytes,
  entryKind,
  readEntry,
  writeEntry,
} from '../../../../plugins/repository/store/index-codec.ts';
import { encodePage } from '../../../../plugins/repository/store/tree-page.ts';
import { systemClock } from '../../../../sdk/ports/clock.ts';
import { blockSize, MemorySource, noise, temporaryStore, throwsReason } from './support.ts';

test('format: the objects of a small package have the bytes of version 1', async (t) => {
  let uuids = 0;
  const random = {
    bytes: (count: number) => new Uint8Array(count).fill(7),
    uuid: () => `00000000-0000-4000-8000-${String(uuids++).padStart(12, '0')}`,
    fraction: () => 0,
  };
  const clock = { ...systemClock, now: () => new Date(Date.UTC(2026, 0, 1)) };
  const store = await temporaryStore(t, { random, clock });
  const bytes = noise(3 * blockSize, 'golden');
  const files = [{ name: 'f', mediaType: 'text/plain', bytes: Buffer.from('golden') }];
  await store.pack([{ name: 'd', source: new MemorySource(bytes) }], { packageId: 'p', files });
  const digests: Record<string, string> = {};
  for (const folder of ['.', 'segments', 'indexes', 'packages']) {
    for (const entry of await readdir(join(store.folder, folder), { withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const content = await readFile(join(store.folder, folder, entry.name));
      const name = entry.name.replace(/^([0-9a-f]{8})[0-9a-f]{56}/, '$1');
      digests[name] = createHash('sha256').update(content).digest('hex').slice(0, 16);
    }
  }
  t.deepEqual(digests, {
    'a5954808.index': '8fd15c604087b149',
    'a5954808.segment': 'fc6136973775227b',
    'ef80d993.index': '39619e3c59f780b1',
    'ef80d993.segment': 'dc558af7f79eed4d',
    'p.manifest': '8c90a07800046f5a',
    'repository.config': 'ce51f2428e5b2065',
    'repository.reserve': '8a39d2abd3999ab7',
  });
});

test('format: a page is its header and the ids', (t) => {
  const ids = new Uint8Array(64).fill(0xab);
  const page = Buffer.from(encodePage(2, ids));
  t.is(page.toString('hex', 0, 8), '4e465650' + '01' + '02' + '0200');
  t.is(page.length, 72);
});

test('format: framed text can be checked with sha256sum', (t) => {
  const bytes = Buffer.from(formatFramed('marker', { segments: [] }));
  const [header] = bytes.toString().split('\n', 1);
  const text = bytes.subarray(header!.length + 1);
  const digest = createHash('sha256').update(text).digest('hex');
  t.is(header, `micromano-marker 1 ${digest}`);
  t.deepEqual(parseFramed('marker', bytes, 'x'), { segments: [] });
});

test('format: framed text of another kind or with any byte changed is refused', (t) => {
  const bytes = formatFramed('marker', { segments: ['a'] });
  t.throws(() => parseFramed('lease', bytes, 'x'), { message: /does not begin with/ });
  for (let at = 0; at < bytes.length; at++) {
    const other = new Uint8Array(bytes);
    other[at]! ^= 1;
    t.throws(() => parseFramed('marker', other, 'x'), undefined, `byte ${at}`);
  }
});

const good = { offset: 32, storedLength: 9, plainLength: blockSize, kind: entryKind.block };

function indexWith(
  entry: Partial<typeof good> & { encoding?: number },
  segmentBytes = 41,
  { baseNumber = 0, baseCount = 0 } = {},
): Buffer {
  const nonce = new Uint8Array(16);
  const header = { nonce, segmentBytes, entryCount: 1, content: content.blocks, baseCount };
  const bytes = Buffer.alloc(entryBytes);
  const id = new Uint8Array(32).fill(1);
  writeEntry(bytes, 0, { id, encoding: encoding.lz4, ...good, ...entry } as never, baseNumber);
  const bases = Buffer.alloc(baseCount * 32, 2);
  return Buffer.concat([encodeIndexHeader(header), bytes, bases]);
}

test('index: one that keeps every rule is read', (t) => {
  t.is(decodeIndex(indexWith({}), 'x').header.entryCount, 1);
});

for (const [what, bytes] of [
  ['an offset that is not where the one before ends', indexWith({ offset: 33 })],
  ['a stored length of 4 GiB', indexWith({ storedLength: 2 ** 32 - 1 })],
  ['a stored length of 0', indexWith({ storedLength: 0 }, 32)],
  ['a plain length that is no block', indexWith({ plainLength: 100 })],
  ['a kind that does not exist', indexWith({ kind: 9 as never })],
  ['a page among blocks', indexWith({ kind: entryKind.page as never, plainLength: 72 })],
  ['raw bytes that are shorter than the block', indexWith({ encoding: encoding.raw })],
  ['a segment longer than its entries', indexWith({}, 42)],
  ['a difference without a base', indexWith({ encoding: encoding.delta })],
  [
    'a difference from a base that is not listed',
    indexWith({ encoding: encoding.delta }, 41, { baseNumber: 2, baseCount: 1 }),
  ],
  ['a base of what is no difference', indexWith({}, 41, { baseNumber: 1, baseCount: 1 })],
  [
    'a base too few',
    indexWith({ encoding: encoding.delta }, 41, { baseNumber: 1, baseCount: 1 }).subarray(0, -32),
  ],
  ['half an entry', indexWith({}).subarray(0, 100)],
] as const) {
  test(`index: ${what} is OBJECT_DAMAGED`, async (t) => {
    await throwsReason(t, async () => decodeIndex(bytes, 'x'), 'OBJECT_DAMAGED');
  });
}

test('index: the bases are counted from the end of the file', (t) => {
  const bytes = indexWith({ encoding: encoding.delta }, 41, { baseNumber: 2, baseCount: 2 });
  bytes.fill(7, bytes.length - 64, bytes.length - 32);
  const { header, entries } = decodeIndex(bytes, 'x');
  t.is(header.baseCount, 2);
  t.deepEqual(readEntry(entries, 0).base, Buffer.alloc(32, 7));
});

test('index: one of a later version is refused as too new', async (t) => {
  const bytes = indexWith({});
  bytes.writeUInt16LE(3, 6);
  await throwsReason(t, async () => decodeIndex(bytes, 'x'), 'FORMAT_TOO_NEW');
});

test('index: an encoding of a later version is refused when it is needed, as too new', async (t) => {
  const { checkEncoding } = await import('../../../../plugins/repository/store/index-codec.ts');
  const entry = { id: new Uint8Array(32), ...good, encoding: 5 };
  t.notThrows(() => decodeIndex(indexWith({ encoding: 5 }), 'x'));
  await throwsReason(t, async () => checkEncoding(entry, 'x'), 'FORMAT_TOO_NEW');
});

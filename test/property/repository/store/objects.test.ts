import test from 'ava';
import fc from 'fast-check';
import type { Backend } from '../../../../plugins/repository/store/backend.ts';
import { readCheckpoint } from '../../../../plugins/repository/store/checkpoint.ts';
import { type FramedKind, formatFramed } from '../../../../plugins/repository/store/framed-text.ts';
import {
  checkSegmentHeader,
  decodeIndex,
  encodeIndexHeader,
  encodeSegmentHeader,
  readEntry,
  writeEntry,
} from '../../../../plugins/repository/store/index-codec.ts';
import { parseLease } from '../../../../plugins/repository/store/lease.ts';
import { idSize } from '../../../../plugins/repository/store/limits.ts';
import { decodeHead, encodeHead } from '../../../../plugins/repository/store/lookup-codec.ts';
import { parseManifest } from '../../../../plugins/repository/store/manifest-codec.ts';
import { readBlockers, readMarkers } from '../../../../plugins/repository/store/quarantine.ts';
import { decodePage, encodePage } from '../../../../plugins/repository/store/tree-page.ts';
import { isRpcError } from '../../../../sdk/errors.ts';
import { hash } from '../../../../wasm/host/blake3.ts';
import { seed } from '../../../support/block-shapes.ts';
import { editJson, jsonEdits } from '../../mutate-json.ts';
import { mutate, mutationsIn } from '../sources/mutate.ts';

/** Damage is told as damage; whatever else is thrown fails the test. */
function isDamage(error: unknown): boolean {
  if (isRpcError(error, 'OBJECT_DAMAGED') || isRpcError(error, 'FORMAT_TOO_NEW')) return true;
  throw error;
}

const id = 'ab'.repeat(32);
const time = '2026-01-01T00:00:00.000Z';
const written = { bytesRead: 1, sampledBlocks: 0, newBlocks: 1, newPages: 1, storedBytes: 9 };
const image = {
  name: 'gateway-0/data',
  role: 'disk',
  format: 'raw',
  logicalBytes: 200_000,
  blockCount: 4,
  root: id,
  map: { source: 'full', reason: 'no parent' },
  sourceSnapshotId: 's',
  labels: { a: 'b' },
  written,
};
const manifest = {
  id: 'p',
  name: '',
  createdAt: time,
  kind: 'IMAGE',
  labels: { a: 'b' },
  parents: ['q'],
  images: [image],
  files: [{ name: 'f', mediaType: 'text/plain', sizeBytes: 3, id }],
};
const { name, logicalBytes, map } = image;
const open = { name, logicalBytes, fingerprint: 'x', map, written };
const checkpoint = {
  packageId: 'p',
  request: 'r',
  startedAt: time,
  updatedAt: time,
  images: [
    { ...open, doneBlocks: 2, open: [id.repeat(2)] },
    { ...open, doneBlocks: 4, root: id },
  ],
};
const holder = { host: 'h', pid: 1, startTicks: '1', bootId: 'b', pidNamespace: 'n' };
const lease = { id: 'l', kind: 'write', holder, startedAt: time, expiresAt: time };

/** A store with one object under every name. */
const holding = (bytes: Uint8Array) =>
  ({
    readAll: async () => bytes,
    list: async () => ['quarantine/x.marker'],
    path: (object: string) => object,
  }) as unknown as Backend;

type Reader = { kind: FramedKind; body: unknown; read: (bytes: Uint8Array) => unknown };
const readers: Reader[] = [
  { kind: 'package', body: manifest, read: (bytes) => parseManifest(bytes, 'p', 'x') },
  { kind: 'checkpoint', body: checkpoint, read: (bytes) => readCheckpoint(holding(bytes), 'k') },
  { kind: 'lease', body: lease, read: (bytes) => parseLease(bytes, 'x') },
  {
    kind: 'marker',
    body: { segments: [id], reason: 'damage' },
    read: (bytes) => readMarkers(holding(bytes)),
  },
  {
    kind: 'blockers',
    body: { leases: ['l'] },
    read: (bytes) => readBlockers(holding(bytes), 'r'),
  },
];

for (const { kind, body, read } of readers) {
  test(`${kind}: what is whole is read; with parts changed it is read or refused as damaged`, async (t) => {
    await t.notThrowsAsync(async () => await read(formatFramed(kind, body)));
    let refused = 0;
    const property = fc.asyncProperty(jsonEdits, async (edits) => {
      try {
        await read(formatFramed(kind, editJson(body, edits)));
      } catch (error) {
        refused += Number(isDamage(error));
      }
    });
    await fc.assert(property, { seed, numRuns: 500 });
    t.log(`seed ${seed}: ${refused} refused`);
    t.true(refused > 100);
  });
}

const entry = { offset: 32, storedLength: 100, plainLength: 65536, kind: 1, encoding: 2 } as const;

function index(baseCount: number): Uint8Array {
  const count = 3;
  const header = {
    nonce: new Uint8Array(16),
    segmentBytes: 332,
    entryCount: count,
    content: 1,
  } as const;
  const entries = Buffer.alloc(count * 48 + baseCount * idSize, 7);
  for (let number = 0; number < count; number++) {
    const entryId = hash(Uint8Array.of(number));
    const isDelta = number < baseCount;
    const mine = {
      ...entry,
      id: entryId,
      offset: 32 + number * 100,
      ...(isDelta && { encoding: 3 }),
    };
    writeEntry(entries, number * 48, mine, isDelta ? number + 1 : 0);
  }
  return Buffer.concat([encodeIndexHeader({ ...header, baseCount }), entries]);
}

for (const baseCount of [0, 2]) {
  test(`index with ${baseCount} bases: with bytes changed it is read within its bounds or refused`, (t) => {
    const valid = index(baseCount);
    t.is(decodeIndex(valid, 'x').header.entryCount, 3);
    let refused = 0;
    const places = mutationsIn([0, 64], [64, 64 + 48], [64, valid.length]);
    const property = fc.property(places, fc.nat(3), (changes, cut) => {
      const mutant = mutate(valid, changes, false);
      try {
        const bytes = mutant.subarray(0, mutant.length - (cut === 3 ? 1 : 0));
        const { header, entries } = decodeIndex(bytes, 'x');
        for (let number = 0; number < header.entryCount; number++) {
          const { base, offset, storedLength } = readEntry(entries, number * 48);
          if (base && base.length !== idSize) throw new Error('half a base');
          if (offset + storedLength > header.segmentBytes) throw new Error('beyond the segment');
        }
      } catch (error) {
        refused += Number(isDamage(error));
      }
    });
    fc.assert(property, { seed, numRuns: 2000 });
    t.log(`seed ${seed}: ${refused} refused`);
    t.true(refused > 500 && refused < 2000);
  });
}

test('segment header, page: with bytes changed they are refused, or say what they said', (t) => {
  const nonce = Uint8Array.from({ length: 16 }, (_, at) => at);
  const segment = encodeSegmentHeader(nonce);
  const ids = new Uint8Array(3 * idSize).fill(9);
  const page = encodePage(1, ids);
  const property = fc.property(mutationsIn([0, 8], [0, 32]), (changes) => {
    const isSame = (valid: Uint8Array) => mutate(valid, changes, false).equals(valid);
    try {
      checkSegmentHeader(mutate(segment, changes, false), nonce, 'x');
      // The version may differ as long as it is one that is known: there is one.
      if (!isSame(segment)) throw new Error('a changed header was taken');
    } catch (error) {
      isDamage(error);
    }
    try {
      const found = decodePage(mutate(page, changes, false), { level: 1, count: 3 }, 'x', 0);
      if (found.length !== ids.length) throw new Error('another number of ids');
    } catch (error) {
      isDamage(error);
    }
  });
  t.notThrows(() => fc.assert(property, { seed, numRuns: 2000 }));
});

test('look-up table: a head with bytes changed and a right digest is never followed out of the file', (t) => {
  const starts = Uint32Array.of(0, 3, 3, 5, 9);
  const segments = [{ id, nonce: new Uint8Array(16), segmentBytes: 4096, entryCount: 9 }];
  const valid = encodeHead({ segments, bucketBits: 2, starts });
  const fileBytes = valid.length + 9 * 8 + 4 * 4;
  t.deepEqual(decodeHead(valid, fileBytes)?.starts, starts);
  let refused = 0;
  const property = fc.property(mutationsIn([0, 20], [64, valid.length]), (changes) => {
    const mutant = mutate(valid, changes, false);
    mutant.set(hash(mutant.subarray(64)), 32);
    const head = decodeHead(mutant, fileBytes);
    if (head === undefined) {
      refused++;
      return true;
    }
    return head.starts.every(
      (start, bucket) => start <= 9 && start >= (head.starts[bucket - 1] ?? 0),
    );
  });
  fc.assert(property, { seed, numRuns: 2000 });
  t.log(`seed ${seed}: ${refused} refused`);
  t.true(refused > 500 && refused < 2000);
});

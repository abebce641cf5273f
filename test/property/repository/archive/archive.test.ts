import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import { nameProblem } from '../../../../plugins/repository/archive/entry-name.ts';
import { exportArchive } from '../../../../plugins/repository/archive/export.ts';
import { importArchive } from '../../../../plugins/repository/archive/import.ts';
import { defaultArchiveLimits } from '../../../../plugins/repository/archive/limits.ts';
import {
  formatManifest,
  metadataProblem,
  parseManifest,
  splitManifest,
} from '../../../../plugins/repository/archive/manifest.ts';
import { filePieces, openZip } from '../../../../plugins/repository/archive/zip-reader.ts';
import { RpcError } from '../../../../sdk/errors.ts';
import {
  MemoryWriter,
  memoryPackage,
} from '../../../integration/repository/archive/memory-package.ts';
import { seed } from '../../../support/block-shapes.ts';
import { tempFolder } from '../../../support/temp-folder.ts';
import { mutate, mutationsIn } from '../sources/mutate.ts';

test('archive: any archive with bytes changed is read or refused with an RpcError, never half', async (t) => {
  const folder = await tempFolder(t);
  const path = join(folder, 'seed.zip');
  await exportArchive(memoryPackage({ disk: 2 * 65536 + 7 }), path);
  const valid = await readFile(path);
  let refused = 0;
  const end = valid.length;
  const mutations = mutationsIn([0, 100], [end - 700, end], [end - 120, end], [0, end]);
  const property = fc.asyncProperty(mutations, async (changes) => {
    const mutant = join(folder, 'mutant.zip');
    await writeFile(mutant, mutate(valid, changes, false));
    const writer = new MemoryWriter();
    try {
      await importArchive(mutant, async () => writer);
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      refused += 1;
      if (writer.state === 'published') throw new Error('published and yet refused');
    }
  });
  await fc.assert(property, { seed, numRuns: 400 });
  t.log(`seed ${seed}: ${refused} refused`);
  t.true(refused > 100 && refused < 400);
});

test('archive: arbitrary bytes with the marks of a ZIP are refused with an RpcError', async (t) => {
  const folder = await tempFolder(t);
  const marks = ['504b0304', '504b0102', '504b0506', '504b0606', '504b0607'];
  const piece = fc.oneof(
    fc.constantFrom(...marks).map((mark) => Buffer.from(mark, 'hex')),
    fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
    fc.constantFrom(Buffer.alloc(8), Buffer.alloc(8, 0xff)),
  );
  const path = join(folder, 'noise.zip');
  const property = fc.asyncProperty(fc.array(piece, { maxLength: 30 }), async (pieces) => {
    await writeFile(path, Buffer.concat(pieces));
    try {
      const zip = await openZip(path, defaultArchiveLimits);
      try {
        for (const entry of zip.entries.values()) for await (const _ of filePieces(zip, entry));
      } finally {
        await zip.close();
      }
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
    }
  });
  await t.notThrowsAsync(() => fc.assert(property, { seed, numRuns: 500 }));
});

test('manifest: what is written is read back, and arbitrary text is refused with an RpcError', (t) => {
  const keys = fc.stringMatching(/^[A-Za-z0-9_]{1,20}$/);
  const values = fc.string({ unit: 'grapheme', maxLength: 40 });
  const paths = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 });
  const property = fc.property(fc.dictionary(keys, values), fc.uniqueArray(paths), (all, names) => {
    const metadata = Object.fromEntries(
      Object.entries(all).filter(([key, value]) => metadataProblem(key, value) === undefined),
    );
    const files = names
      .filter((path) => nameProblem(path) === undefined && !path.includes('://'))
      .map((path) => ({ path, algorithm: 'SHA-256' as const, digest: 'ab'.repeat(32) }));
    const bytes = Buffer.from(formatManifest({ metadata, files }));
    const { signed, cms } = splitManifest(bytes, 'x.mf');
    t.is(cms, undefined);
    t.deepEqual(parseManifest(signed, 'x.mf'), { metadata, files });
  });
  fc.assert(property, { seed, numRuns: 300 });
  const lines = fc.constantFrom(
    'metadata:',
    'Source: a',
    'Algorithm: SHA-256',
    'Hash: 00',
    'x: y',
    '-----BEGIN CMS-----',
    '-----END CMS-----',
    'AAAA',
    '',
    ':',
    '  ',
    'Source:',
  );
  const texts = fc.oneof(
    fc.string(),
    fc.array(lines).map((each) => each.join('\n')),
  );
  const hostile = fc.property(texts, (text) => {
    try {
      parseManifest(splitManifest(Buffer.from(text), 'x.mf').signed, 'x.mf');
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
    }
  });
  fc.assert(hostile, { seed, numRuns: 2000 });
});

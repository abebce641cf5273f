import test from 'ava';
import {
  decodeName,
  imagePath,
  nameProblem,
} from '../../../../plugins/repository/archive/entry-name.ts';
import { formatManifest, parseManifest } from '../../../../plugins/repository/archive/manifest.ts';
import { Code } from '../../../../sdk/errors.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';

test('entry name: what an honest archive has is accepted', (t) => {
  for (const name of ['a', 'VNFD/x.zip', 'Files/Zürich.json', 'a.b/c-d_e', '..a/b..', 'x y']) {
    t.is(nameProblem(name), undefined, name);
  }
});

test('entry name: what leaves its folder or hides is refused', (t) => {
  const names = [
    '',
    '/a',
    '../a',
    'a/..',
    'a/../b',
    'a\\b',
    'C:a',
    'a//b',
    'a/',
    'a\u0000',
    'a\u202e\u0085',
    ' a',
    'x'.repeat(513),
  ];
  for (const name of names) t.is(typeof nameProblem(name), 'string', name);
});

test('entry name: bytes that are not the text they claim to be are refused', async (t) => {
  const invalid = { code: Code.INVALID_ARGUMENT, reason: 'ARCHIVE_INVALID' };
  await throwsRpc(t, () => decodeName(Uint8Array.of(0xff, 0xfe), true), invalid);
  await throwsRpc(t, () => decodeName(Buffer.from('ü'), false), invalid);
  t.is(decodeName(Buffer.from('ü'), true), 'ü');
});

test('image path: different names never share a place', (t) => {
  const names = ['a', 'A', 'a b', 'a%20b', 'a/b', 'a%2Fb', '..', '.', 'ü', '(x)', "it's"];
  const paths = names.map((name) => imagePath(name, 'raw.lz4'));
  t.is(new Set(paths).size, names.length);
  for (const path of paths) t.is(nameProblem(path), undefined, path);
  t.is(imagePath('disk0', 'qcow2'), 'images/disk0.qcow2');
});

test('manifest: its text is pinned', (t) => {
  const files = [{ path: 'a/b', algorithm: 'SHA-256' as const, digest: '0'.repeat(64) }];
  const text = formatManifest({ metadata: { name: 'x: y' }, files });
  t.is(
    text,
    `metadata:\n  name: x: y\n  micromano_archive_version: 1\n\nSource: a/b\nAlgorithm: SHA-256\nHash: ${'0'.repeat(64)}\n`,
  );
  t.deepEqual(parseManifest(Buffer.from(text), 'x.mf'), { metadata: { name: 'x: y' }, files });
});

test('manifest: a line that is wrong is named by its number', async (t) => {
  const invalid = { code: Code.INVALID_ARGUMENT, reason: 'ARCHIVE_INVALID' };
  const text = 'metadata:\n  a: b\n\nSource: x\nAlgorithm: MD5\nHash: 00\n';
  const error = await throwsRpc(t, () => parseManifest(Buffer.from(text), 'x.mf'), invalid);
  t.regex(error.metadata.what ?? '', /^line 5: the algorithm MD5/);
});

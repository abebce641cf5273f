import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createFileRegistry, type DescMethod, fromBinary, getOption } from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import test from 'ava';
import { spec } from '../../gen/nfv/meta/v1/meta_pb.js';
import { exposuresOf, methodPath } from '../../sdk/services.ts';

const root = join(import.meta.dirname, '../..');
const linesMax = 400;

type Source = { path: string; lines: string[] };

/** The project's own TypeScript below some folders. */
function sources(...folders: string[]): Source[] {
  const listed = ['ls-files', '--cached', '--others', '--exclude-standard', '--', ...folders];
  const paths = execFileSync('git', listed, { cwd: root, encoding: 'utf8' }).split('\n');
  return paths
    .filter((path) => path.endsWith('.ts'))
    .map((path) => ({ path, lines: readFileSync(join(root, path), 'utf8').split('\n') }));
}

/** The places of lines that match, as "path:line: text". */
function places(found: Source[], pattern: RegExp): string[] {
  return found.flatMap(({ path, lines }) =>
    lines.flatMap((line, at) => (pattern.test(line) ? [`${path}:${at + 1}: ${line.trim()}`] : [])),
  );
}

test('kernel: its code has no noun of network functions virtualisation', (t) => {
  const nouns = /vnf|nfv[io]|\bvim\b|snapshot|hypervisor|guest|\bvdu\b|virtuali/i;
  const own = sources('kernel').map(({ path, lines }) => ({
    path,
    // Packages of the contract are called nfv.…, whatever they are about.
    lines: lines.map((line) => line.replaceAll(/nfv[./](kernel|plugin|meta)/g, '')),
  }));
  t.true(own.length > 20);
  t.deepEqual(places(own, nouns), []);
});

test('sources: the clock and randomness come through ports', (t) => {
  const bare = /\bDate\.now\(|\bnew Date\(\)|\bMath\.random\(|\brandomUUID\(/;
  const bound = sources('kernel', 'sdk', 'cli', 'plugins').filter(
    ({ path }) => !/^sdk\/ports\/|^plugins\/drivers\//.test(path),
  );
  t.true(bound.length > 200);
  t.deepEqual(places(bound, bare), []);
});

test('sources: no file is longer than can be read at one sitting', (t) => {
  const product = sources('app', 'cli', 'kernel', 'plugins', 'sdk', 'wasm');
  const long = product.filter(({ lines }) => lines.length - 1 > linesMax);
  t.deepEqual(
    long.map(({ path }) => path),
    [],
  );
});

test('contract: each RPC says where it comes from, and to whom it is exposed', (t) => {
  const bytes = readFileSync(join(root, 'gen/descriptors.binpb'));
  const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, bytes));
  const methods: DescMethod[] = [];
  for (const file of registry.files) {
    // The kernel itself calls a plugin's own service; it is exposed to nobody.
    const { package: name } = file.proto;
    if (!name.startsWith('nfv.') || name === 'nfv.plugin.v1') continue;
    for (const service of file.services) methods.push(...service.methods);
  }
  t.true(methods.length > 80, `${methods.length} methods`);
  const bare = methods.filter((method) => getOption(method, spec).length === 0);
  t.deepEqual(bare.map(methodPath), []);
  const hidden = methods.filter((method) => exposuresOf(method).length === 0);
  t.deepEqual(hidden.map(methodPath), []);
});

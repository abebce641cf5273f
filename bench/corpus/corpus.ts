/** The corpus of the benchmark: made once, kept in a folder, described in a manifest. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Code, failedPrecondition, RpcError } from '../../sdk/errors.ts';
import type { GivenImages } from '../images.ts';
import { toolVersions } from '../tools.ts';
import { captureMemory } from './memory.ts';

const needed = ['debootstrap', 'mkfs.ext4', 'qemu-system-x86_64', 'unshare', 'git'];

/** The images in `folder`; what is missing is made, which takes about a quarter of an hour. */
export async function corpus(
  folder: string,
  print: (line: string) => void,
): Promise<Required<GivenImages>> {
  const first = join(folder, 'v1.raw');
  const next = join(folder, 'v2.raw');
  const memory = join(folder, 'memory.raw');
  const manifest = join(folder, 'manifest.json');
  if (await exists(manifest)) return { first, next, memory };
  await requireTools();
  await mkdir(folder, { recursive: true });
  // v1 is renamed last, so both are there when it is.
  if (!(await exists(first))) {
    print(`building the corpus in ${folder}: the disks, then the memory of a guest`);
    buildDisks(folder);
  }
  if (!(await exists(memory))) {
    print('booting a guest for its memory');
    await captureMemory(next, `${memory}.tmp`);
    await rename(`${memory}.tmp`, memory);
  }
  await writeManifest(folder, manifest, [first, next, memory]);
  return { first, next, memory };
}

async function requireTools(): Promise<void> {
  const missing = (await toolVersions(needed)).filter(({ version }) => version === undefined);
  const problems = missing.map(({ name }) => name);
  if (process.getuid?.() !== 0) problems.push('root (for chroot and mount)');
  if (problems.length === 0) return;
  const text = `the corpus needs ${problems.join(', ')}: run ./mano setup --bench as root, or name images of your own`;
  throw failedPrecondition('BENCH_TOOLS_MISSING', text, { missing: problems.join(', ') });
}

function buildDisks(folder: string): void {
  const script = join(import.meta.dirname, 'build-disks.sh');
  const { status } = spawnSync('sh', [script, folder], { stdio: ['ignore', 2, 2] });
  if (status === 0) return;
  const text = `corpus: the disks were not built (exit code ${status}); the lines above say why`;
  throw new RpcError(Code.INTERNAL, 'BENCH_CORPUS_FAILED', text);
}

async function writeManifest(
  folder: string,
  path: string,
  images: readonly string[],
): Promise<void> {
  const sums: Record<string, { bytes: number; sha256: string }> = {};
  for (const image of images) {
    const name = image.slice(folder.length + 1);
    sums[name] = { bytes: (await stat(image)).size, sha256: await sha256(image) };
  }
  const packages = (await readFile(join(folder, 'v1.packages'), 'utf8'))
    .trim()
    .split('\n')
    .map((line) => line.replace('\t', ' '));
  const text = JSON.stringify({ version: 1, images: sums, packages }, null, 1);
  await writeFile(`${path}.tmp`, `${text}\n`);
  await rename(`${path}.tmp`, path);
}

async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: 1024 * 1024 }), hash);
  return hash.digest('hex');
}

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}

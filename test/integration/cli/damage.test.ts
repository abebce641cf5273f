import { createHash } from 'node:crypto';
import { cp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { blockSize, flipBit, noise, text, writeImage } from '../../support/cli/disk-images.ts';
import { mano, manoFails, manoOk } from '../../support/cli/mano.ts';
import { preparedFolder } from '../../support/cli/prepared-folder.ts';

/** Two images packed as `p`: one whose blocks do not compress, one whose blocks do; and one of holes. */
const prepared = preparedFolder(test, async (t, folder) => {
  await writeFile(join(folder, 'noise.raw'), noise('disk', 20 * blockSize));
  await writeFile(join(folder, 'text.raw'), text('disk', 20 * blockSize));
  await writeImage(join(folder, 'holes.raw'), 20 * blockSize);
  const names = ['noise.raw', 'text.raw', 'holes.raw'];
  await manoOk(t, folder, ['pack', ...names, '--store', 'store', '--id', 'p']);
});

/** Gives the segment with the blocks, too. */
async function packed(t: ExecutionContext): Promise<{ folder: string; segment: string }> {
  const folder = await prepared(t);
  const segments = join(folder, 'store/segments');
  const sizes = await Promise.all(
    (await readdir(segments)).map(async (name) => {
      return { name, size: (await stat(join(segments, name))).size };
    }),
  );
  const largest = sizes.sort((a, b) => b.size - a.size)[0]!;
  return { folder, segment: join(segments, largest.name) };
}

async function verify(t: ExecutionContext, folder: string) {
  const result = await mano(folder, ['verify', '--store', 'store', '--json']);
  t.is(result.code, 7, result.stderr);
  t.false(result.json().isWhole);
  return result.json().damages;
}

const damaged = { code: 7, reason: 'PACKAGE_DAMAGED' };
/** 32 bytes of header, then the blocks of `noise.raw`, which are stored as they are. */
const inBlock = (block: number) => 32 + block * blockSize + 777;

test('verify: one flipped bit is found, with the object, the package, the image and the place', async (t) => {
  const { folder, segment } = await packed(t);
  await flipBit(segment, inBlock(13));
  const [damage, ...others] = await verify(t, folder);
  t.deepEqual(others, []);
  t.like(damage, { packageId: 'p', image: 'noise.raw', offset: 13 * blockSize, length: blockSize });
  t.true(segment.endsWith(damage.path), damage.path);
  t.is(damage.objectOffset, 32 + 13 * blockSize);
  const forPeople = await mano(folder, ['verify', '--store', 'store']);
  t.is(forPeople.code, 7);
  t.regex(forPeople.stderr, /noise\.raw/);
  t.regex(forPeople.stderr, /mano repair --store store /);
});

for (const format of ['raw', 'qcow2', 'raw.lz4']) {
  test(`unpack --format ${format}: one flipped bit is refused with its place and leaves no file`, async (t) => {
    const { folder, segment } = await packed(t);
    await flipBit(segment, inBlock(13));
    const args = ['unpack', 'p', '--store', 'store', '--to', 'out', '--format', format];
    const place = new RegExp(`package "p", image "noise.raw", byte ${13 * blockSize}:`);
    await manoFails(t, folder, args, { ...damaged, text: place });
    t.deepEqual(await readdir(join(folder, 'out')), []);
    // What is not damaged can still be had.
    const others = ['--image', 'text.raw', 'holes.raw'];
    await manoOk(t, folder, [...args, ...others]);
  });
}

test('export: one flipped bit is refused, so that no archive carries it on', async (t) => {
  const { folder, segment } = await packed(t);
  await flipBit(segment, inBlock(13));
  const place = new RegExp(`image "noise.raw", byte ${13 * blockSize}:`);
  await manoFails(t, folder, ['export', 'p', 'p.zip', '--store=store'], {
    ...damaged,
    text: place,
  });
  t.deepEqual(
    (await readdir(folder)).filter((name) => name.includes('zip')),
    [],
  );
});

test('verify, unpack: a segment cut short is found and refused', async (t) => {
  const { folder, segment } = await packed(t);
  await truncate(segment, inBlock(13));
  const damages = await verify(t, folder);
  const places = damages
    .filter(({ image }: { image?: string }) => image === 'noise.raw')
    .map(({ offset }: { offset: number }) => offset / blockSize);
  t.deepEqual(places, [13, 14, 15, 16, 17, 18, 19]);
  const args = ['unpack', 'p', '--store', 'store', '--to', 'out'];
  await manoFails(t, folder, args, { ...damaged, text: /segment that holds it .*is cut short/ });
  t.deepEqual(await readdir(join(folder, 'out')), []);
});

test('verify, unpack: a missing segment is found and refused', async (t) => {
  const { folder, segment } = await packed(t);
  await rm(segment);
  t.true((await verify(t, folder)).length > 0);
  const result = await mano(folder, ['unpack', 'p', '--store', 'store', '--to', 'out']);
  t.is(result.code, 7, result.stderr);
  t.deepEqual(await readdir(join(folder, 'out')), []);
});

test('list: a damaged manifest is exit code 7, and the other packages are still listed', async (t) => {
  const { folder } = await packed(t);
  await manoOk(t, folder, ['pack', 'text.raw', '--store', 'store', '--id', 'q']);
  await flipBit(join(folder, 'store/packages/p.manifest'), 300);
  const listed = await mano(folder, ['list', '--store', 'store', '--json']);
  t.is(listed.code, 7);
  const { packages, damaged: broken } = listed.json();
  t.deepEqual([packages[0].package, broken[0].package], ['q', 'p']);
  await manoOk(t, folder, ['unpack', 'q', '--store', 'store', '--to', 'out']);
  const refused = { code: 7, reason: 'OBJECT_DAMAGED', text: /p\.manifest.*digest/ };
  await manoFails(t, folder, ['unpack', 'p', '--store', 'store', '--to', 'out'], refused);
});

/** Rewrites a framed text of the store as a version 9 with a right digest. */
async function makeNewer(path: string): Promise<void> {
  const [head, ...rest] = (await readFile(path, 'latin1')).split('\n');
  const body = Buffer.from(rest.join('\n'), 'latin1');
  const digest = createHash('sha256').update(body).digest('hex');
  const kind = head!.split(' ')[0];
  await writeFile(path, Buffer.concat([Buffer.from(`${kind} 9 ${digest}\n`), body]));
}

test('any command: a repository of a newer format is refused with both versions, and not touched', async (t) => {
  const { folder } = await packed(t);
  await makeNewer(join(folder, 'store/repository.config'));
  const files = async () => (await readdir(join(folder, 'store'), { recursive: true })).sort();
  const before = await files();
  const newer = { code: 4, reason: 'FORMAT_TOO_NEW', text: /repository\.config.*version 9.*1/ };
  for (const args of [['list'], ['verify'], ['gc'], ['pack', 'text.raw'], ['delete', 'p']]) {
    await manoFails(t, folder, [...args, '--store', 'store'], newer);
  }
  t.deepEqual(await files(), before);
});

test('gc: a package of a newer format stops it', async (t) => {
  const { folder } = await packed(t);
  await makeNewer(join(folder, 'store/packages/p.manifest'));
  const result = await mano(folder, ['gc', '--store', 'store', '--json']);
  t.true(result.code === 4 || result.code === 7, `${result.code}`);
  t.true((await readdir(join(folder, 'store/segments'))).length >= 2);
});

test('repair: a flipped bit is made good from the image, named or not', async (t) => {
  for (const from of ['noise.raw', 'p:noise.raw=noise.raw']) {
    const { folder, segment } = await packed(t);
    await flipBit(segment, inBlock(13));
    const args = ['repair', '--store', 'store', '--from-image', from, '--json'];
    t.like((await manoOk(t, folder, [...args, '--dry-run'])).json(), { blocks: 1, dryRun: true });
    await verify(t, folder);
    t.like((await manoOk(t, folder, args)).json(), { isWhole: true, blocks: 1, leftCount: 0 });
    await manoOk(t, folder, ['verify', '--store', 'store']);
  }
});

test('repair: a deleted segment and a damaged manifest come from another repository', async (t) => {
  const { folder, segment } = await packed(t);
  await cp(join(folder, 'store'), join(folder, 'other'), { recursive: true });
  await rm(segment);
  await flipBit(join(folder, 'store/packages/p.manifest'), 300);
  const args = ['repair', '--store', 'store', '--from', 'other'];
  const { stdout } = await manoOk(t, folder, args);
  t.regex(stdout, /brought in 40 blocks, .* packages p; nothing is left/);
  await manoOk(t, folder, ['verify', '--store', 'store']);
});

test('repair: without a good copy it says what is left, with exit code 7', async (t) => {
  const { folder, segment } = await packed(t);
  await flipBit(segment, inBlock(13));
  const result = await mano(folder, ['repair', '--store', 'store', '--json']);
  t.is(result.code, 7, result.stderr);
  t.like(result.json().left[0], { packageId: 'p', image: 'noise.raw', offset: 13 * blockSize });
});

/** The images of a run: the user's, the corpus, or for a smoke run small ones; and what is derived. */
import { constants, copyFile, open, stat, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Code, invalidArgument, RpcError } from '../sdk/errors.ts';
import { changedRanges } from './changed-map.ts';
import { type Extent, scatter, writeNoise, writeSparse } from './corpus/synthetic.ts';
import type { ImageNote } from './types.ts';

export type DiskPair = { title: string; before: string; after: string };

/** Paths of images and maps. */
export type Images = {
  first: string;
  /** The same bytes in another file. */
  firstCopy: string;
  next?: string;
  /** What differs between `first` and `next`, in blocks of 64 KiB. */
  changedMap: string;
  emptyMap: string;
  memory?: string;
  sparse?: string;
  incompressible?: string;
  sizes?: { small: DiskPair; large: DiskPair; changedMap: string; emptyMap: string };
};

/** What everything else is made from. */
export type GivenImages = { first: string; next?: string; memory?: string };

/** Sizes of the images that are made, in bytes. */
export type SyntheticSizes = {
  sparse: number;
  sparseData: number;
  incompressible: number;
  small: number;
  large: number;
  /** Data on the disks of two sizes, and how much of it changes. */
  data: number;
  changed: number;
};

const mib = 1024 * 1024;
const gib = 1024 * mib;
export const fullSizes: SyntheticSizes = {
  sparse: 16 * gib,
  sparseData: 256 * mib,
  incompressible: 512 * mib,
  small: 4 * gib,
  large: 64 * gib,
  data: 256 * mib,
  changed: 64 * mib,
};
export const smokeSizes: SyntheticSizes = {
  sparse: 256 * mib,
  sparseData: 4 * mib,
  incompressible: 4 * mib,
  small: 64 * mib,
  large: 1 * gib,
  data: 4 * mib,
  changed: 1 * mib,
};

/** Adds to the given images those that are made in `folder`; without sizes only what any has. */
export async function completeImages(
  given: GivenImages,
  folder: string,
  sizes?: SyntheticSizes,
): Promise<Images> {
  await requireSpace(given, folder);
  const changedMap = join(folder, 'changed-map.json');
  const emptyMap = join(folder, 'empty-map.json');
  const firstCopy = join(folder, 'same-bytes.raw');
  await copyFile(given.first, firstCopy, constants.COPYFILE_FICLONE);
  await writeFile(emptyMap, '[]');
  const ranges = given.next === undefined ? [] : await changedRanges(given.first, given.next);
  await writeFile(changedMap, JSON.stringify(ranges));
  const images: Images = { ...given, firstCopy, changedMap, emptyMap };
  if (sizes === undefined) return images;
  return { ...images, ...(await makeSynthetic(given.first, folder, sizes, emptyMap)) };
}

async function makeSynthetic(
  first: string,
  folder: string,
  sizes: SyntheticSizes,
  emptyMap: string,
): Promise<Partial<Images>> {
  const sparse = join(folder, 'sparse.raw');
  const incompressible = join(folder, 'incompressible.raw');
  const changedMap = join(folder, 'sizes-map.json');
  await writeSparse(sparse, sizes.sparse, first, scatter(sizes.sparse, sizes.sparseData, mib));
  await writeNoise(incompressible, [{ start: 0, length: sizes.incompressible }], 'incompressible');
  // Both disks have the same data at the same places, so that only their size differs.
  const data = scatter(sizes.small, sizes.data, mib);
  const changed = everyNth(data, sizes.changed);
  await writeFile(changedMap, JSON.stringify(changed));
  const pair = async (name: string, bytes: number): Promise<DiskPair> => {
    const before = join(folder, `${name}-before.raw`);
    const after = join(folder, `${name}-after.raw`);
    await writeSparse(before, bytes, first, data);
    await writeSparse(after, bytes, first, data);
    await writeNoise(after, changed, 'changed');
    return { title: `${bytes / gib} GiB, ${sizes.changed / mib} MiB changed`, before, after };
  };
  const small = await pair('small', sizes.small);
  const large = await pair('large', sizes.large);
  return { sparse, incompressible, sizes: { small, large, changedMap, emptyMap } };
}

/** One block of 64 KiB of each of the pieces, in turn, until there are enough bytes. */
function everyNth(pieces: readonly Extent[], bytes: number): Extent[] {
  const block = 65536;
  const all = Array.from({ length: mib / block }, (_, i) =>
    pieces.map(({ start }) => ({ start: start + i * block, length: block })),
  );
  return all
    .flat()
    .slice(0, bytes / block)
    .sort((a, b) => a.start - b.start);
}

/** Refuses what is not a raw image: peers would read other bytes than we do. SOURCE_FORMAT. */
export async function requireRaw(path: string): Promise<void> {
  const file = await open(path).catch((error: Error) => {
    throw invalidArgument('SOURCE_UNREADABLE', `${path}: ${error.message}`, { path });
  });
  try {
    const start = Buffer.alloc(4);
    await file.read(start, 0, 4, 0);
    const isQcow2 = start.toString('latin1') === 'QFI\xfb';
    if (!isQcow2 && start.readUInt32LE() !== 0x184d2204) return;
    const text = `${path} is not a raw image: convert it first, qemu-img convert -O raw`;
    throw invalidArgument('SOURCE_FORMAT', text, { path });
  } finally {
    await file.close();
  }
}

/** What peers store, restore and copy in a run, as multiples of what the given images take. */
const spaceFactor = 5;

/** Refuses a run that would fill the disk in its middle. BENCH_NO_SPACE (RESOURCE_EXHAUSTED). */
async function requireSpace(given: GivenImages, folder: string): Promise<void> {
  let taken = 0;
  for (const path of [given.first, given.next, given.memory]) {
    if (path !== undefined) taken += (await stat(path)).blocks * 512;
  }
  const { bavail, bsize } = await statfs(folder);
  refuseLackOfSpace(taken * spaceFactor, bavail * bsize, folder);
}

export function refuseLackOfSpace(needed: number, free: number, folder: string): void {
  if (free >= needed) return;
  const [wanted, there] = [needed, free].map((bytes) => `${Math.ceil(bytes / mib)} MiB`);
  const text = `${folder} has ${there} free, and the run may need ${wanted}: name another --work`;
  const metadata = { path: folder, neededBytes: `${needed}`, freeBytes: `${free}` };
  throw new RpcError(Code.RESOURCE_EXHAUSTED, 'BENCH_NO_SPACE', text, metadata);
}

/** Sizes of the images for the report. */
export async function describeImages(images: Images): Promise<ImageNote[]> {
  const named: [string, string | undefined][] = [
    ['disk', images.first],
    ['disk after changes', images.next],
    ['memory', images.memory],
    ['sparse', images.sparse],
    ['incompressible', images.incompressible],
    ['small disk', images.sizes?.small.after],
    ['large disk', images.sizes?.large.after],
  ];
  const notes: ImageNote[] = [];
  for (const [name, path] of named) {
    if (path === undefined) continue;
    const { size, blocks } = await stat(path);
    const note = `${Math.round((blocks * 512) / mib)} MiB allocated`;
    notes.push({ name, bytes: size, note });
  }
  return notes;
}

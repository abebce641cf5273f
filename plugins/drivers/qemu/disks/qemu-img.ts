import { runTool } from '../host/process.ts';

/** Making, measuring and reading the header of an image takes milliseconds. */
const quickDeadlineMs = 30_000;
/** Merging a layer copies what it holds. */
const mergeDeadlineMs = 3_600_000;

export type Format = 'qcow2' | 'raw';

/**
 * Creates an empty disk, or an overlay on `backing`, whose name is relative to the folder of the
 * new file.
 */
export async function createImage(
  path: string,
  sizeBytes: number,
  backing?: { name: string; format: Format },
): Promise<void> {
  const base = backing ? ['-b', backing.name, '-F', backing.format] : [];
  const options = ['-q', '-f', 'qcow2', '-o', 'compat=1.1,lazy_refcounts=off'];
  await runTool(
    'qemu-img',
    ['create', ...options, ...base, path, String(sizeBytes)],
    quickDeadlineMs,
  );
}

/** What the header of an image says. */
export type ImageInfo = { format: Format; sizeBytes: number; hasBacking: boolean };

/** Reads the header. The format is the one expected, never probed. */
export async function imageInfo(path: string, format: Format): Promise<ImageInfo> {
  // -U: a running machine may have the file open; the header of a frozen layer does not change.
  const args = ['info', '-U', '--output=json', '-f', format, path];
  const info = JSON.parse(await runTool('qemu-img', args, quickDeadlineMs));
  const dataFile = info['format-specific']?.data?.['data-file'];
  return {
    format,
    sizeBytes: info['virtual-size'],
    hasBacking: info['backing-filename'] !== undefined || dataFile !== undefined,
  };
}

/**
 * Copies what a layer's child needs of it into the child, and puts the child on `backing`. Not
 * while either is open.
 */
export async function rebaseImage(
  path: string,
  backing: { name: string; format: Format },
): Promise<void> {
  const args = ['rebase', '-q', '-f', 'qcow2', '-F', backing.format, '-b', backing.name, path];
  await runTool('qemu-img', args, mergeDeadlineMs);
}

/**
 * One run of a disk: `depth` is the layer that decides it, 0 the top; `data` false: it reads as
 * zero.
 */
export type MapEntry = { start: number; length: number; depth: number; data: boolean };

/**
 * The allocation map of an image with its chain. `present` is false where no layer decides
 * anything.
 */
export async function imageMap(
  path: string,
  format: Format,
): Promise<(MapEntry & { present: boolean })[]> {
  const args = ['map', '-U', '--output=json', '-f', format, path];
  const entries = JSON.parse(await runTool('qemu-img', args, quickDeadlineMs)) as {
    start: number;
    length: number;
    depth: number;
    zero: boolean;
    data: boolean;
    present?: boolean;
  }[];
  return entries.map(({ start, length, depth, zero, data, present }) => ({
    start,
    length,
    depth,
    data: data && !zero,
    present: present ?? true,
  }));
}

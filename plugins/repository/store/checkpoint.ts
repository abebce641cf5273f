/** How far an unfinished package is; docs/storage-format.md 2.8. */
import { isRpcError, RpcError } from '../../../sdk/errors.ts';
import type { Backend } from './backend.ts';
import { cutGrowth } from './cut-source.ts';
import { objectDamaged } from './faults.ts';
import { formatFramed, parseFramed } from './framed-text.ts';
import {
  blockSize,
  checkpointKeptMs,
  framedTextBytesMax,
  idSize,
  imagesMax,
  pageFanOut,
} from './limits.ts';
import type { ImageRecord, Written } from './manifest.ts';
import { packageIdProblem } from './manifest-rules.ts';
import { checkpointName, resumePrefix, stems } from './object-names.ts';
import { blocksPerId, levelsOf, treeBlockCount } from './tree-page.ts';

/** An image of which the first `doneBlocks` blocks are stored. */
export type CheckpointImage = {
  name: string;
  logicalBytes: number;
  chunking?: 'content';
  fingerprint: string;
  map: ImageRecord['map'];
  written: Written;
  doneBlocks: number;
  /** The ids of the open page of each level, 32 bytes each. */
  open: Uint8Array[];
  /** Of an image that is done. */
  root?: string;
};

export type Checkpoint = {
  packageId: string;
  request: string;
  startedAt: string;
  updatedAt: string;
  images: CheckpointImage[];
};

/** An unfinished package, as it is listed. */
export type Unfinished = {
  key: string;
  packageId: string;
  images: string[];
  /** Of the images begun so far. */
  doneBytes: number;
  storedBytes: number;
  updatedAt: string;
  /** From then on a collection frees it. */
  expiresAt: string;
};

export function formatCheckpoint(checkpoint: Checkpoint): Uint8Array {
  const images = checkpoint.images.map(({ open, ...image }) => ({
    ...image,
    ...(image.root === undefined && { open: open.map((ids) => Buffer.from(ids).toString('hex')) }),
  }));
  return formatFramed('checkpoint', { ...checkpoint, images });
}

/** The checkpoint under a key, or undefined. OBJECT_DAMAGED (DATA_LOSS), FORMAT_TOO_NEW. */
export async function readCheckpoint(
  backend: Backend,
  key: string,
): Promise<Checkpoint | undefined> {
  const name = checkpointName(key);
  const bytes = await backend.readAll(name, framedTextBytesMax);
  if (bytes === undefined) return undefined;
  const path = backend.path(name);
  const body = parseFramed('checkpoint', bytes, path) as Partial<Checkpoint>;
  const isWhole =
    packageIdProblem(body.packageId) === undefined &&
    [body.request, body.startedAt, body.updatedAt].every((text) => typeof text === 'string') &&
    !Number.isNaN(Date.parse(body.updatedAt!)) &&
    Array.isArray(body.images) &&
    body.images.length <= imagesMax;
  if (!isWhole) throw objectDamaged(path, 0, 'is no checkpoint');
  return { ...(body as Checkpoint), images: body.images!.map((image) => parseImage(image, path)) };
}

/** All that can be read, by key; a damaged one is undefined. */
export async function readCheckpoints(
  backend: Backend,
): Promise<Map<string, Checkpoint | undefined>> {
  const found = new Map<string, Checkpoint | undefined>();
  for (const key of stems(await backend.list(resumePrefix), resumePrefix, '.checkpoint')) {
    try {
      const checkpoint = await readCheckpoint(backend, key);
      if (checkpoint !== undefined) found.set(key, checkpoint);
    } catch (error) {
      if (!isRpcError(error, 'OBJECT_DAMAGED')) throw error;
      found.set(key, undefined);
    }
  }
  return found;
}

export function expiresMs({ updatedAt }: Checkpoint): number {
  return Date.parse(updatedAt) + checkpointKeptMs;
}

/** A checkpoint as it is listed. */
export function unfinished(key: string, checkpoint: Checkpoint): Unfinished {
  const { packageId, images, updatedAt } = checkpoint;
  return {
    key,
    packageId,
    images: images.map(({ name }) => name),
    doneBytes: images.reduce((sum, image) => sum + doneBytesOf(image), 0),
    storedBytes: images.reduce((sum, { written }) => sum + written.storedBytes, 0),
    updatedAt,
    expiresAt: new Date(expiresMs(checkpoint)).toISOString(),
  };
}

/** Bytes of the image that are done. */
export function doneBytesOf({ doneBlocks, logicalBytes, chunking }: CheckpointImage): number {
  const done = doneBlocks * blockSize;
  return Math.min(chunking ? done / cutGrowth : done, logicalBytes);
}

const counters = ['bytesRead', 'sampledBlocks', 'newBlocks', 'newPages', 'storedBytes'] as const;
const isCount = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0;

function parseImage(value: unknown, path: string): CheckpointImage {
  const image = (value ?? {}) as CheckpointImage & { open?: unknown };
  const blockCount = treeBlockCount(image);
  const isSound =
    [image.name, image.fingerprint, image.map?.source, image.map?.reason].every(
      (text) => typeof text === 'string',
    ) &&
    isCount(image.logicalBytes) &&
    (image.chunking === undefined || image.chunking === 'content') &&
    counters.every((key) => isCount(image.written?.[key])) &&
    (image.root === undefined
      ? isCount(image.doneBlocks) && image.doneBlocks <= blockCount
      : /^[0-9a-f]{64}$/.test(image.root) && image.doneBlocks === blockCount);
  if (!isSound) throw objectDamaged(path, 0, 'has an image that is none');
  const open = image.root === undefined ? parseOpen(image.open, blockCount) : [];
  const done = open?.reduce((sum, ids, level) => sum + idsOf(ids) * blocksPerId(level), 0);
  if (open === undefined || (image.root === undefined && done !== image.doneBlocks)) {
    throw objectDamaged(path, 0, 'has open pages that do not fit its image');
  }
  return { ...image, open };
}

const idsOf = (ids: Uint8Array) => ids.length / idSize;

function parseOpen(value: unknown, blockCount: number): Uint8Array[] | undefined {
  if (!Array.isArray(value) || value.length !== levelsOf(blockCount)) return undefined;
  const pages = value.map((text: unknown) => {
    const isIds = typeof text === 'string' && /^([0-9a-f]{64}){0,128}$/.test(text);
    return isIds ? new Uint8Array(Buffer.from(text, 'hex')) : undefined;
  });
  // A full page below the top would have been closed.
  const isOpen = pages.every(
    (ids, level) => ids !== undefined && (level === pages.length - 1 || idsOf(ids) < pageFanOut),
  );
  return isOpen ? (pages as Uint8Array[]) : undefined;
}

/** Who runs out of space must hear what holds some without being a package. */
export async function withUnfinished(
  error: unknown,
  list: () => Promise<Unfinished[]>,
): Promise<unknown> {
  if (!isRpcError(error, 'STORE_FULL')) return error;
  const kept = await list();
  if (kept.length === 0) return error;
  const bytes = kept.reduce((sum, { storedBytes }) => sum + storedBytes, 0);
  const text =
    `${error.message}; ${bytes} bytes are kept for unfinished packages, also of this run: ` +
    '"mano gc --forget-unfinished" frees them';
  return new RpcError(error.code, error.reason, text, { ...error.metadata });
}

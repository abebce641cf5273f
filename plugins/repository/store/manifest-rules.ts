/**
 * What a manifest may contain. Manifests come from disks and archives: nothing in them is believed.
 */
import { objectDamaged } from './faults.ts';
import { parseId } from './ids.ts';
import {
  blockCountMax,
  filesBytesMax,
  filesMax,
  imagesMax,
  labelKeyBytesMax,
  labelsMax,
  labelValueBytesMax,
  nameBytesMax,
  parentsMax,
  roleBytesMax,
  titleBytesMax,
} from './limits.ts';
import { type ImageRecord, type Manifest, mapSources, packageKinds } from './manifest.ts';
import { treeBlockCount } from './tree-page.ts';

/** Why a text is no package id, or undefined when it is one. */
export function packageIdProblem(id: unknown): string | undefined {
  if (typeof id === 'string' && /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(id)) return undefined;
  return 'must be 1 to 128 letters, digits, ".", "_" or "-", the first a letter or digit';
}

/**
 * Why a text is no image name, or undefined when it is one. Unpacking makes a file of that name:
 * parts between "/" are folders, as in "gateway-0/data".
 */
export function imageNameProblem(name: unknown): string | undefined {
  const parts = isText(name, nameBytesMax) ? (name as string).split('/') : [''];
  const isPlain = parts.every((part) => part !== '' && part !== '.' && part !== '..');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (isPlain && !/[\u0000-\u001f\u007f]/.test(name as string)) return undefined;
  return (
    `must be 1 to ${nameBytesMax} bytes without control characters; parts between "/" not ` +
    'empty, "." or ".."'
  );
}

/** Why these are no labels, or undefined when they are. */
export function labelsProblem(labels: unknown): string | undefined {
  if (!isRecord(labels)) return 'must be a map of texts';
  const entries = Object.entries(labels);
  if (entries.length > labelsMax) return `must have at most ${labelsMax} entries`;
  for (const [key, value] of entries) {
    if (key === '' || !isText(key, labelKeyBytesMax)) {
      return `keys must have 1 to ${labelKeyBytesMax} bytes`;
    }
    if (!isText(value, labelValueBytesMax)) {
      return `values must be texts of at most ${labelValueBytesMax} bytes`;
    }
  }
  return undefined;
}

/**
 * The first rule that a manifest breaks, as `path.to.field: what it must be`; undefined when it
 * breaks none.
 */
export function manifestProblem(body: unknown): string | undefined {
  if (!isRecord(body)) return 'must be an object';
  return (
    unknownField(body, '', manifestFields) ??
    at('id', packageIdProblem(body.id)) ??
    textProblem(body, 'name', titleBytesMax) ??
    at('createdAt', timeProblem(body.createdAt)) ??
    at('kind', oneOf(body.kind, packageKinds)) ??
    at('labels', labelsProblem(body.labels)) ??
    listProblem(body.parents, 'parents', parentsMax, packageIdProblem) ??
    listProblem(body.images, 'images', imagesMax, imageProblem) ??
    listProblem(body.files, 'files', filesMax, fileProblem) ??
    namesProblem(body.images as { name: string }[], 'images') ??
    namesProblem(body.files as { name: string }[], 'files') ??
    filesBytesProblem(body.files as { sizeBytes: number }[])
  );
}

/**
 * Returns the manifest when it keeps every rule and is that of `packageId`; else OBJECT_DAMAGED.
 */
export function checkManifest(body: unknown, packageId: string, path: string): Manifest {
  const problem = manifestProblem(body);
  if (problem !== undefined) throw objectDamaged(path, 0, problem);
  const manifest = body as Manifest;
  if (manifest.id !== packageId) throw objectDamaged(path, 0, `is the manifest of ${manifest.id}`);
  return manifest;
}

const manifestFields = ['id', 'name', 'createdAt', 'kind', 'labels', 'parents', 'images', 'files'];
const imageFields = [
  'name',
  'role',
  'format',
  'logicalBytes',
  'blockCount',
  'chunking',
  'root',
  'map',
  'sourceSnapshotId',
  'labels',
  'written',
];
const writtenFields = ['bytesRead', 'sampledBlocks', 'newBlocks', 'newPages', 'storedBytes'];

function imageProblem(image: unknown): string | undefined {
  if (!isRecord(image)) return 'must be an object';
  const { logicalBytes, map, chunking } = image;
  return (
    unknownField(image, '', imageFields) ??
    at('name', imageNameProblem(image.name)) ??
    textProblem(image, 'role', roleBytesMax) ??
    textProblem(image, 'format', roleBytesMax) ??
    at('logicalBytes', countProblem(logicalBytes)) ??
    (chunking === undefined ? undefined : at('chunking', oneOf(chunking, ['content']))) ??
    at('blockCount', blockCountProblem(image)) ??
    at('root', parseId(image.root) ? undefined : 'must be 64 hexadecimal digits') ??
    at('map', mapProblem(map)) ??
    textProblem(image, 'sourceSnapshotId', nameBytesMax) ??
    at('labels', labelsProblem(image.labels)) ??
    at('written', writtenProblem(image.written))
  );
}

function fileProblem(file: unknown): string | undefined {
  if (!isRecord(file)) return 'must be an object';
  return (
    unknownField(file, '', ['name', 'mediaType', 'sizeBytes', 'id']) ??
    (file.name === '' ? 'name: must not be empty' : undefined) ??
    textProblem(file, 'name', titleBytesMax) ??
    textProblem(file, 'mediaType', nameBytesMax) ??
    at('sizeBytes', countProblem(file.sizeBytes)) ??
    at('id', parseId(file.id) ? undefined : 'must be 64 hexadecimal digits')
  );
}

function mapProblem(map: unknown): string | undefined {
  if (!isRecord(map)) return 'must be an object';
  return (
    unknownField(map, '', ['source', 'reason']) ??
    at('source', oneOf(map.source, mapSources)) ??
    textProblem(map, 'reason', labelValueBytesMax)
  );
}

function writtenProblem(written: unknown): string | undefined {
  if (!isRecord(written)) return 'must be an object';
  for (const field of writtenFields) {
    const problem = at(field, countProblem(written[field]));
    if (problem !== undefined) return problem;
  }
  return unknownField(written, '', writtenFields);
}

function blockCountProblem(image: Record<string, unknown>): string | undefined {
  const { blockCount, logicalBytes } = image;
  const wanted = treeBlockCount(image as Pick<ImageRecord, 'logicalBytes' | 'chunking'>);
  if (wanted > blockCountMax) return `is more than ${blockCountMax}`;
  return blockCount === wanted ? undefined : `must be ${wanted} for ${logicalBytes} bytes`;
}

function listProblem(
  list: unknown,
  field: string,
  max: number,
  problemOf: (item: unknown) => string | undefined,
): string | undefined {
  if (!Array.isArray(list)) return `${field}: must be a list`;
  if (list.length > max) return `${field}: must have at most ${max} entries`;
  for (const [index, item] of list.entries()) {
    const problem = problemOf(item);
    if (problem !== undefined) return `${field}[${index}].${problem}`;
  }
  return undefined;
}

function namesProblem(list: { name: string }[], field: string): string | undefined {
  const names = new Set(list.map((item) => item.name));
  return names.size === list.length ? undefined : `${field}: names must be different`;
}

function filesBytesProblem(files: { sizeBytes: number }[]): string | undefined {
  const total = files.reduce((sum, file) => sum + file.sizeBytes, 0);
  return total <= filesBytesMax ? undefined : `files: must have at most ${filesBytesMax} bytes`;
}

function textProblem(body: Record<string, unknown>, field: string, bytesMax: number) {
  return isText(body[field], bytesMax)
    ? undefined
    : `${field}: must be a text of at most ${bytesMax} bytes`;
}

function unknownField(body: Record<string, unknown>, prefix: string, known: readonly string[]) {
  const field = Object.keys(body).find((key) => !known.includes(key));
  return field === undefined ? undefined : `${prefix}${field}: is no field of version 1`;
}

function timeProblem(value: unknown): string | undefined {
  const isTime = typeof value === 'string' && /^\d{4}-.*Z$/.test(value) && Date.parse(value) > 0;
  return isTime ? undefined : 'must be a time of RFC 3339 in UTC';
}

function countProblem(value: unknown): string | undefined {
  return Number.isSafeInteger(value) && (value as number) >= 0
    ? undefined
    : 'must be a whole number, not negative';
}

function oneOf(value: unknown, known: readonly string[]): string | undefined {
  return known.includes(value as string) ? undefined : `must be one of ${known.join(', ')}`;
}

function at(field: string, problem: string | undefined): string | undefined {
  return problem === undefined ? undefined : `${field}: ${problem}`;
}

function isText(value: unknown, bytesMax: number): value is string {
  return typeof value === 'string' && Buffer.byteLength(value) <= bytesMax;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

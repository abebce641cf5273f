import { archiveInvalid, archiveTooLarge } from './faults.ts';
import { imagesMax } from './limits.ts';
import type { PackageImage } from './package.ts';

export const imageIndexPath = 'images/index.json';

export type ImageFileFormat = 'raw.lz4' | 'qcow2' | 'raw';

/** An image of the archive: what it is and which file holds it. */
export type IndexedImage = PackageImage & { file: string; format: ImageFileFormat };

export function formatImageIndex(images: IndexedImage[]): Uint8Array {
  return Buffer.from(`${JSON.stringify({ version: 1, images }, null, 2)}\n`);
}

/** Reads the list of images strictly: an unknown key may carry a meaning that is not understood. */
export function parseImageIndex(bytes: Uint8Array): IndexedImage[] {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw wrong(`it is not JSON: ${(error as Error).message}`);
  }
  const { version, images } = asObject(value, '', ['version', 'images']);
  if (version !== 1) throw wrong(`version: is ${JSON.stringify(version)}, must be 1`);
  if (!Array.isArray(images)) throw wrong('images: must be a list');
  if (images.length > imagesMax) {
    throw archiveTooLarge(imageIndexPath, 'the number of images', imagesMax, images.length);
  }
  const parsed = images.map((image, index) => parseImage(image, `images[${index}]`));
  for (const key of ['name', 'file'] as const) {
    const seen = new Set(parsed.map((image) => image[key]));
    if (seen.size !== parsed.length) throw wrong(`images: a ${key} is there twice`);
  }
  return parsed;
}

function parseImage(value: unknown, path: string): IndexedImage {
  const known = ['name', 'sizeBytes', 'root', 'attributes', 'file', 'format'];
  const image = asObject(value, path, known);
  const { format, sizeBytes, root, attributes } = image;
  if (format !== 'raw.lz4' && format !== 'qcow2' && format !== 'raw') {
    throw wrong(`${path}.format: must be raw.lz4, qcow2 or raw`);
  }
  if (typeof sizeBytes !== 'number' || !Number.isSafeInteger(sizeBytes) || sizeBytes < 0) {
    throw wrong(`${path}.sizeBytes: must be a number of bytes`);
  }
  const parsed: IndexedImage = {
    name: asText(image.name, `${path}.name`, 255),
    sizeBytes,
    file: asText(image.file, `${path}.file`, 512),
    format,
  };
  if (root !== undefined) {
    if (typeof root !== 'string' || !/^[0-9a-f]{64}$/.test(root)) {
      throw wrong(`${path}.root: must be 64 hexadecimal digits`);
    }
    parsed.root = root;
  }
  if (attributes !== undefined) parsed.attributes = asTexts(attributes, `${path}.attributes`);
  return parsed;
}

function asObject(value: unknown, path: string, known: string[]): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw wrong(`${path || 'it'}: must be an object`);
  }
  const unknown = Object.keys(value).find((key) => !known.includes(key));
  if (unknown !== undefined) throw wrong(`${path}: unknown key ${unknown.slice(0, 64)}`);
  return value as Record<string, unknown>;
}

function asText(value: unknown, path: string, bytesMax: number): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: exactly these are searched for
  const plain = typeof value === 'string' && value !== '' && !/[\u0000-\u001f\u007f]/.test(value);
  if (!plain || Buffer.byteLength(value) > bytesMax) {
    throw wrong(`${path}: must be a text of at most ${bytesMax} bytes`);
  }
  return value;
}

function asTexts(value: unknown, path: string): Record<string, string> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw wrong(`${path}: must be an object`);
  }
  const entries = Object.entries(value);
  if (entries.length > 64) throw wrong(`${path}: more than 64 keys`);
  return Object.fromEntries(
    entries.map(([key, text]) => {
      const isText = typeof text === 'string' && text.length <= 1024 && key.length <= 128;
      if (!isText) throw wrong(`${path}: keys and values must be short texts`);
      return [key, text];
    }),
  );
}

const wrong = (what: string) => archiveInvalid('index-invalid', imageIndexPath, what);

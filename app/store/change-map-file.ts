import { readFile } from 'node:fs/promises';
import type { ByteRange } from '../../plugins/repository/store/store.ts';
import { invalidArgument } from '../../sdk/errors.ts';

/** Changed bytes by image name; `onlyImage` is set when the file has one list without a name. */
export type ChangeMaps = { byName: Map<string, ByteRange[]>; onlyImage?: ByteRange[] };

/**
 * Reads a change map: `[{"start": bytes, "length": bytes}, …]` for one image, or `{"<image>": […],
 * …}` for several. MAP_INVALID (INVALID_ARGUMENT) names the file and the entry.
 */
export async function readChangeMap(path: string): Promise<ChangeMaps> {
  const body = parseJson(await read(path), path);
  if (Array.isArray(body)) return { byName: new Map(), onlyImage: ranges(body, path, '') };
  if (typeof body !== 'object' || body === null) throw invalid(path, 'must be a list or an object');
  const byName = new Map<string, ByteRange[]>();
  for (const [image, list] of Object.entries(body)) {
    byName.set(image, ranges(list, path, `"${image}"`));
  }
  return { byName };
}

/**
 * The map of each image. A list without a name belongs to the only image; an unknown name is
 * refused.
 */
export function mapsOfImages(
  maps: ChangeMaps,
  images: readonly string[],
  path: string,
): Map<string, ByteRange[]> {
  if (maps.onlyImage !== undefined) {
    if (images.length === 1) return new Map([[images[0]!, maps.onlyImage]]);
    throw invalid(
      path,
      `is one list, but there are ${images.length} images: name them, {"<image>": […]}`,
    );
  }
  const unknown = [...maps.byName.keys()].find((name) => !images.includes(name));
  if (unknown === undefined) return maps.byName;
  throw invalid(path, `names image "${unknown}", which is not packed (${images.join(', ')})`);
}

async function read(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw invalid(path, `cannot be read: ${(error as Error).message}`);
  }
}

function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw invalid(path, `is not JSON: ${(error as Error).message}`);
  }
}

function ranges(list: unknown, path: string, where: string): ByteRange[] {
  if (!Array.isArray(list)) throw invalid(path, `${where} must be a list of {"start", "length"}`);
  return list.map((item: unknown, index) => {
    const { start, length } = (item ?? {}) as Partial<ByteRange>;
    if (isCount(start) && isCount(length)) return { start, length };
    const what = 'must have "start" and "length", whole numbers of bytes, not negative';
    throw invalid(path, `${where}[${index}] ${what}`);
  });
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function invalid(path: string, problem: string): Error {
  return invalidArgument('MAP_INVALID', `changed map ${path}: ${problem}`, { path, problem });
}

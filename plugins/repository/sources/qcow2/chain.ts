import { realpath } from 'node:fs/promises';
import { dirname, resolve, sep } from 'node:path';
import { failedPrecondition, permissionDenied, unimplemented } from '../../../../sdk/errors.ts';
import { type DataRange, dataRanges } from '../data-ranges.ts';
import { backingChainMax } from '../limits.ts';
import { type OpenFile, openFile } from '../open-file.ts';
import { headerMaxBytes, parseHeader, qcow2Magic } from './header.ts';
import { type Layer, Qcow2Layer, RawLayer } from './layer.ts';
import { TablePages } from './table-pages.ts';

export type ChainOptions = {
  /**
   * Folders in which the backing files must lie; an empty list allows none. Undefined allows all,
   * which is right only for images of the operator's own: a foreign image could name any file of
   * this machine.
   */
  backingRoots?: string[];
  /**
   * Whether a backing file whose format the image does not name may be looked at to find out. A
   * guest that can write to a raw file can make it look like a qcow2 file that names any other
   * file, hence the default no.
   */
  probeBacking?: boolean;
  perl?: string;
};

/** Holes of a raw backing file that are remembered; with more of them the rest is read. */
const rawRangesMax = 65536;

/** Opens an image and everything below it, the top first. On failure nothing stays open. */
export async function openChain(path: string, options: ChainOptions = {}): Promise<Layer[]> {
  const layers: Layer[] = [];
  const pages = new TablePages();
  try {
    let next: { path: string; format?: string } | undefined = { path, format: 'qcow2' };
    while (next !== undefined) {
      const file: OpenFile = await openFile(next.path);
      const opened: Opened = await openLayer(file, next.format, pages, options, layers);
      layers.push(opened.layer);
      next = opened.backing;
    }
    return layers;
  } catch (error) {
    await closeChain(layers);
    throw error;
  }
}

export async function closeChain(layers: Layer[]): Promise<void> {
  await Promise.all(layers.map((layer) => layer.file.close()));
}

type Opened = { layer: Layer; backing?: { path: string; format?: string } };

async function openLayer(
  file: OpenFile,
  format: string | undefined,
  pages: TablePages,
  options: ChainOptions,
  above: Layer[],
): Promise<Opened> {
  try {
    refuseLoop(file, above);
    const kind = format ?? (await probe(file, options));
    if (kind === 'raw') return { layer: new RawLayer(file, await ranges(file, options.perl)) };
    if (kind !== 'qcow2') {
      throw unimplemented('SOURCE_UNSUPPORTED', `${file.path}: no reader for format ${kind}`, {
        path: file.path,
        feature: `format ${kind}`,
      });
    }
    const bytes = new Uint8Array(Math.min(headerMaxBytes, file.sizeBytes));
    await file.read(0, bytes);
    const header = parseHeader(bytes, file.path);
    const layer = new Qcow2Layer(file, header, pages);
    if (header.backing === undefined) return { layer };
    const path = await backingPath(file.path, header.backing.name, options.backingRoots);
    return { layer, backing: { ...header.backing, path } };
  } catch (error) {
    await file.close();
    throw error;
  }
}

function refuseLoop(file: OpenFile, above: Layer[]) {
  if (above.some((layer) => layer.file.identity === file.identity)) {
    throw failedPrecondition('SOURCE_BACKING_LOOP', `${file.path} is its own backing file`, {
      path: file.path,
    });
  }
  if (above.length > backingChainMax) {
    const message = `more than ${backingChainMax} backing files below ${above[0]!.file.path}`;
    throw failedPrecondition('SOURCE_BACKING_TOO_DEEP', message, {
      path: above[0]!.file.path,
      limit: String(backingChainMax),
    });
  }
}

async function probe(file: OpenFile, options: ChainOptions): Promise<string> {
  if (options.probeBacking !== true) {
    const message = `the image above does not say which format its backing file ${file.path} has`;
    throw failedPrecondition('SOURCE_BACKING_FORMAT_UNKNOWN', message, { path: file.path });
  }
  if (file.sizeBytes < 4) return 'raw';
  const magic = new DataView(new ArrayBuffer(4));
  await file.read(0, new Uint8Array(magic.buffer));
  return magic.getUint32(0) === qcow2Magic ? 'qcow2' : 'raw';
}

async function ranges(file: OpenFile, perl: string | undefined): Promise<DataRange[]> {
  const found: DataRange[] = [];
  for await (const range of dataRanges(file, perl).ranges) {
    if (found.length < rawRangesMax) found.push(range);
    else {
      found.push({ start: range.start, end: file.sizeBytes });
      break;
    }
  }
  return found;
}

/** A relative name counts from the folder of the image that names it. */
async function backingPath(image: string, name: string, roots?: string[]): Promise<string> {
  const protocol = /^([a-z][a-z0-9+.-]*):/i.exec(name)?.[1];
  if (protocol !== undefined && protocol !== 'file') {
    const message = `${image}: its backing file ${name} is not a local file`;
    throw unimplemented('SOURCE_BACKING_UNSUPPORTED', message, { path: image, backing: name });
  }
  const local = protocol === 'file' ? name.slice('file:'.length) : name;
  const path = resolve(dirname(image), local);
  if (roots === undefined) return path;
  const real = await realpath(path).catch(() => path);
  const folders = await Promise.all(roots.map((root) => realpath(root)));
  if (!folders.some((folder) => real.startsWith(folder.endsWith(sep) ? folder : folder + sep))) {
    throw permissionDenied(
      'SOURCE_BACKING_OUTSIDE',
      `${image}: its backing file ${name} lies outside the allowed folders`,
      { path: image, backing: name },
    );
  }
  return real;
}

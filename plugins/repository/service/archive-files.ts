import { buffer } from 'node:stream/consumers';
import { fromBufferPromise } from 'yauzl';
import { ZipFile } from 'yazl';
import { invalidArgument } from '../../../sdk/errors.ts';

/** The descriptor's place in the archive: a nested ZIP, as ETSI GS NFV-SOL 010 has it. */
const vnfdPath = 'VNFD/vnfd.zip';
const vnfdFile = 'vnfd.json';
const vnfdBytesMax = 8 * 2 ** 20;

/** Small files of a package that are the VNF snapshot's record. */
const recordFiles = ['vnf-snapshot.json', 'vnf-instance.json'];

/** Where a small file of a package stands in an archive. */
export function archivePath(fileName: string): string {
  if (fileName === vnfdFile) return vnfdPath;
  return recordFiles.includes(fileName) ? `VNFSR/${fileName}` : `Files/${fileName}`;
}

/** The name in the package of a file of an archive. INVALID_ARGUMENT ARCHIVE_INVALID for a place that is not ours. */
export function packageFileName(path: string): string {
  if (path === vnfdPath) return vnfdFile;
  const [folder, name, ...rest] = path.split('/');
  const known = folder === 'VNFSR' || folder === 'Files';
  if (known && name && rest.length === 0 && archivePath(name) === path) return name;
  const text = `the archive has a file "${path}" that belongs to no package`;
  throw invalidArgument('ARCHIVE_INVALID', text, { file: path });
}

/** The bytes of a small file as the archive holds them. */
export async function toArchive(fileName: string, bytes: Uint8Array): Promise<Uint8Array> {
  return fileName === vnfdFile ? zipOne(vnfdFile, bytes) : bytes;
}

/** The bytes of a small file as the package holds them. */
export async function fromArchive(fileName: string, bytes: Uint8Array): Promise<Uint8Array> {
  return fileName === vnfdFile ? unzipOne(bytes) : bytes;
}

async function zipOne(name: string, bytes: Uint8Array): Promise<Uint8Array> {
  const zip = new ZipFile();
  // A fixed time: the same descriptor gives the same bytes.
  zip.addBuffer(Buffer.from(bytes), name, {
    mtime: new Date(Date.UTC(1980, 0, 1)),
    compress: true,
  });
  zip.end();
  return buffer(zip.outputStream);
}

async function unzipOne(bytes: Uint8Array): Promise<Uint8Array> {
  try {
    const zip = await fromBufferPromise(Buffer.from(bytes), { lazyEntries: true });
    for await (const entry of zip.eachEntry()) {
      if (entry.fileName !== vnfdFile) continue;
      // yauzl checks that no more than this comes out.
      if (entry.uncompressedSize > vnfdBytesMax) break;
      return await buffer(await zip.openReadStreamPromise(entry));
    }
  } catch (error) {
    throw invalidVnfd((error as Error).message);
  }
  throw invalidVnfd(`it has no file "${vnfdFile}" of at most ${vnfdBytesMax} bytes`);
}

function invalidVnfd(why: string) {
  return invalidArgument('ARCHIVE_INVALID', `${vnfdPath} cannot be read: ${why}`, {
    file: vnfdPath,
  });
}

import { rm, stat } from 'node:fs/promises';
import { isAbsolute } from 'node:path';
import { type DataLocation, ImageFormat } from '../../../gen/nfv/common/v1/common_pb.js';
import { failedPrecondition, invalidArgument } from '../../../sdk/errors.ts';
import { openNbd } from '../sources/nbd/source.ts';
import { openSource } from '../sources/open-source.ts';
import type { BlockSource } from '../sources/source.ts';
import { createRaw } from '../targets/raw.ts';
import type { BlockTarget } from '../targets/target.ts';

const formats: Partial<Record<ImageFormat, 'raw' | 'qcow2' | 'raw.lz4'>> = {
  [ImageFormat.RAW]: 'raw',
  [ImageFormat.QCOW2]: 'qcow2',
  [ImageFormat.RAW_LZ4]: 'raw.lz4',
};

/** Opens a location for reading; its caller closes it. The format is the location's word, never guessed. */
export async function openLocation(location: DataLocation): Promise<BlockSource> {
  const { location: place } = location;
  switch (place.case) {
    case 'localFile': {
      const { path } = place.value;
      requireAbsolute(path);
      const format = formats[place.value.format]!;
      return (await openSource(path, { format })).source;
    }
    case 'nbd':
      return openNbdLocation(location);
    default:
      throw invalidArgument('LOCATION_INVALID', `image "${location.name}" names no location`);
  }
}

async function openNbdLocation({ name, location }: DataLocation): Promise<BlockSource> {
  if (location.case !== 'nbd') throw invalidArgument('LOCATION_INVALID', `image "${name}"`);
  const { address, exportName, tls } = location.value;
  if (tls) {
    const text = `image "${name}": NBD with TLS needs certificates, which a location cannot carry; use a Unix socket`;
    throw invalidArgument('LOCATION_INVALID', text, { image: name });
  }
  if (address.case === 'socketPath') return openNbd({ socketPath: address.value, exportName });
  if (address.case === 'hostPort') {
    const at = address.value.lastIndexOf(':');
    const [host, port] = [address.value.slice(0, at), Number(address.value.slice(at + 1))];
    return openNbd({ host, port, exportName });
  }
  throw invalidArgument('LOCATION_INVALID', `image "${name}": the NBD export has no address`);
}

/**
 * Opens a location for writing. What stands there must be an empty file, which is replaced when the image is whole;
 * TARGET_NOT_EMPTY otherwise, so that nothing is ever overwritten.
 */
export async function createTarget(
  location: DataLocation,
  sizeBytes: number,
): Promise<BlockTarget> {
  const { location: place, name } = location;
  if (place.case !== 'localFile' || place.value.format !== ImageFormat.RAW) {
    const text = `image "${name}" can be restored to a local raw file only`;
    throw invalidArgument('LOCATION_INVALID', text, { image: name });
  }
  const { path } = place.value;
  requireAbsolute(path);
  await removeIfEmpty(path);
  return createRaw(path, sizeBytes);
}

async function removeIfEmpty(path: string): Promise<void> {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (!found) return;
  if (!found.isFile() || found.size > 0) {
    throw failedPrecondition('TARGET_NOT_EMPTY', `${path} is not an empty file`, { path });
  }
  await rm(path);
}

function requireAbsolute(path: string): void {
  if (isAbsolute(path)) return;
  throw invalidArgument('LOCATION_INVALID', `"${path}" is not an absolute path`, { path });
}

import { rm, stat } from 'node:fs/promises';
import { isAbsolute } from 'node:path';
import { type DataLocation, ImageFormat } from '../../../gen/nfv/common/v1/common_pb.js';
import { failedPrecondition, invalidArgument } from '../../../sdk/errors.ts';
import type { NbdAddress } from '../sources/nbd/address.ts';
import { type NbdChanges, openNbd } from '../sources/nbd/source.ts';
import { openSource } from '../sources/open-source.ts';
import type { BlockSource, ChangeTrackingSource } from '../sources/source.ts';
import type { ImageRecord } from '../store/store.ts';
import { createNbd } from '../targets/nbd.ts';
import { tagOf } from '../targets/partial-name.ts';
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
      return openNbd(nbdAddress(location));
    default:
      throw invalidArgument('LOCATION_INVALID', `image "${location.name}" names no location`);
  }
}

const bitmapContext = 'qemu:dirty-bitmap:';

/**
 * Opens a location whose own dirty bitmap is the changed-block map: NBD_CONTEXT_MISSING when its
 * server has none of that name. Nothing when the location names no bitmap.
 */
export async function openTracked(
  location: DataLocation,
): Promise<ChangeTrackingSource | undefined> {
  const changes = bitmapOf(location);
  return changes && openNbd(nbdAddress(location), { changes });
}

function bitmapOf({ name, location: { case: kind, value } }: DataLocation): NbdChanges | undefined {
  if (kind !== 'nbd') return undefined;
  const bitmaps = value.metaContexts.filter((context) => context.startsWith(bitmapContext));
  if (bitmaps.length > 1) {
    const text = `image "${name}" names ${bitmaps.length} dirty bitmaps; name the one since the parent`;
    throw invalidArgument('LOCATION_INVALID', text, { image: name });
  }
  return bitmaps[0] === undefined ? undefined : { bitmap: bitmaps[0].slice(bitmapContext.length) };
}

function nbdAddress({ name, location }: DataLocation): NbdAddress {
  if (location.case !== 'nbd') throw invalidArgument('LOCATION_INVALID', `image "${name}"`);
  const { address, exportName, tls } = location.value;
  if (tls) {
    const text = `image "${name}": NBD with TLS needs certificates, which a location cannot carry; use a Unix socket`;
    throw invalidArgument('LOCATION_INVALID', text, { image: name });
  }
  if (address.case === 'socketPath') return { socketPath: address.value, exportName };
  if (address.case === 'hostPort') {
    const at = address.value.lastIndexOf(':');
    const [host, port] = [address.value.slice(0, at), Number(address.value.slice(at + 1))];
    return { host, port, exportName };
  }
  throw invalidArgument('LOCATION_INVALID', `image "${name}": the NBD export has no address`);
}

/**
 * Opens a location for writing: an NBD export, which is written over, or a local raw file. What stands there must be an
 * empty file, which is replaced when the image is whole; TARGET_NOT_EMPTY otherwise, so that no file is ever overwritten.
 * What a killed process had written of the same image is gone on with.
 */
export async function createTarget(
  location: DataLocation,
  image: Pick<ImageRecord, 'root' | 'logicalBytes'>,
): Promise<BlockTarget> {
  const { location: place, name } = location;
  if (place.case === 'nbd') return createNbd(nbdAddress(location), image.logicalBytes);
  if (place.case !== 'localFile' || place.value.format !== ImageFormat.RAW) {
    const text = `image "${name}" can be restored to a local raw file or an NBD export only`;
    throw invalidArgument('LOCATION_INVALID', text, { image: name });
  }
  const { path } = place.value;
  requireAbsolute(path);
  await removeIfEmpty(path);
  const { root, logicalBytes } = image;
  return createRaw(path, logicalBytes, tagOf('raw', root, String(logicalBytes)));
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

import { parseNbdAddress } from '../../plugins/repository/sources/nbd/address.ts';
import { unpackImage } from '../../plugins/repository/store/unpack.ts';
import { createNbd } from '../../plugins/repository/targets/nbd.ts';
import { invalidArgument } from '../../sdk/errors.ts';
import type { UnpackFilesOptions, UnpackFilesResult } from './unpack.ts';
import { withStore } from './with-store.ts';

/**
 * Writes one image of a package over an NBD export, named by its URI in `to`. The errors are those
 * of targets/nbd.ts.
 */
export async function unpackToNbd(
  packageId: string,
  options: UnpackFilesOptions,
): Promise<UnpackFilesResult> {
  const startMs = performance.now();
  const { format = 'raw', images: wanted, to, workers } = options;
  if (format !== 'raw') {
    const text = `an NBD export takes the bytes of the disk: format "${format}" is for files`;
    throw invalidArgument('FIELD_VIOLATION', text, { field: 'format' });
  }
  const resources = workers === undefined ? {} : { workers };
  return await withStore(options.store, resources, async (store) => {
    const reader = await store.openPackage(packageId);
    try {
      const names = wanted ?? reader.manifest.images.map((image) => image.name);
      if (names.length !== 1) {
        const text = `one export takes one image, and there are ${names.join(', ')}: use --image`;
        throw invalidArgument('USAGE', text);
      }
      const image = reader.image(names[0]!);
      const target = await createNbd(parseNbdAddress(to), image.record.logicalBytes);
      const result = await unpackImage(image, target, options);
      const seconds = Math.round(performance.now() - startMs) / 1000;
      const images = [{ ...result, path: to, format }];
      return { package: packageId, images, resumedBytes: 0, seconds };
    } finally {
      await reader.close();
    }
  });
}

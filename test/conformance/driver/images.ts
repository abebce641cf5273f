import { strict as assert } from 'node:assert';
import { createHash } from 'node:crypto';
import { type DataLocation, ImageFormat } from '../../../gen/nfv/common/v1/common_pb.js';
import { openSource } from '../../../plugins/repository/sources/open-source.ts';
import type { BlockSource } from '../../../plugins/repository/sources/source.ts';
import type { Kit } from './kit.ts';

export const blockBytes = 65536;
const formats: Partial<Record<ImageFormat, 'raw' | 'qcow2'>> = {
  [ImageFormat.RAW]: 'raw',
  [ImageFormat.QCOW2]: 'qcow2',
};

/** The SHA-256 of each block of 64 KiB of an image, in order. */
export async function blockDigests(location: DataLocation): Promise<string[]> {
  const source = await openLocation(location);
  try {
    const sizeBytes = Number(location.sizeBytes);
    assert.equal(source.sizeBytes, sizeBytes, `${location.name}: the size is as the location says`);
    const digests: string[] = [];
    for (let offset = 0; offset < sizeBytes; offset += blockBytes) {
      const block = new Uint8Array(Math.min(blockBytes, sizeBytes - offset));
      await source.read(offset, block);
      digests.push(createHash('sha256').update(block).digest('hex'));
    }
    return digests;
  } finally {
    await source.close();
  }
}

/** One digest of a whole image. */
export async function digest(location: DataLocation): Promise<string> {
  return createHash('sha256')
    .update((await blockDigests(location)).join())
    .digest('hex');
}

/** Opens a snapshot's images, reads them all, closes them. */
export async function snapshotDigests(
  kit: Kit,
  snapshotId: string,
): Promise<Record<string, string>> {
  return withSnapshotData(kit, snapshotId, async (locations) => {
    const entries = locations.map(async (location) => [location.name, await digest(location)]);
    return Object.fromEntries(await Promise.all(entries));
  });
}

export async function withSnapshotData<T>(
  kit: Kit,
  snapshotId: string,
  work: (locations: DataLocation[]) => Promise<T>,
): Promise<T> {
  const { locations } = await kit.client.openSnapshotData({ snapshotId });
  try {
    return await work(locations);
  } finally {
    for (const token of new Set(locations.map((location) => location.token))) {
      await kit.client.closeData({ token });
    }
  }
}

/** The digest of the present content of a volume. */
export async function volumeDigest(kit: Kit, volumeId: string): Promise<string> {
  const { location } = await kit.client.openVolumeData({ volumeId });
  assert(location);
  try {
    return await digest(location);
  } finally {
    await kit.client.closeData({ token: location.token });
  }
}

export async function openLocation({ name, location }: DataLocation): Promise<BlockSource> {
  assert.equal(location.case, 'localFile', `${name} is a local file`);
  const { path, format } = location.value as { path: string; format: ImageFormat };
  const known = formats[format];
  assert(known, `${name} has a format that says how to read it`);
  return (await openSource(path, { format: known })).source;
}

/** The digest of a block of zeros of this length. */
export function zeroDigest(length: number): string {
  return createHash('sha256').update(new Uint8Array(length)).digest('hex');
}

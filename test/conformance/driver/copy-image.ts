import { strict as assert } from 'node:assert';
import { open } from 'node:fs/promises';
import { type DataLocation, ImageFormat } from '../../../gen/nfv/common/v1/common_pb.js';
import { openLocation } from './images.ts';

const stepBytes = 1024 * 1024;

/** Writes the content of an image to a place that a driver gave for it, which must be raw. */
export async function writeImage(source: DataLocation, target: DataLocation): Promise<void> {
  assert.equal(target.location.case, 'localFile');
  const { path, format } = target.location.value as { path: string; format: ImageFormat };
  assert.equal(format, ImageFormat.RAW, `${target.name} is to be written as it is`);
  const reader = await openLocation(source);
  const writer = await open(path, 'r+');
  try {
    assert.equal((await writer.stat()).size, 0, 'the place is empty');
    for (let offset = 0; offset < reader.sizeBytes; offset += stepBytes) {
      const bytes = new Uint8Array(Math.min(stepBytes, reader.sizeBytes - offset));
      await reader.read(offset, bytes);
      await writer.write(bytes, 0, bytes.length, offset);
    }
    await writer.truncate(reader.sizeBytes);
  } finally {
    await writer.close();
    await reader.close();
  }
}

import assert from 'node:assert/strict';
import { NewFile } from './new-file.ts';
import type { BlockTarget } from './target.ts';

/** A raw image; what is not written becomes a hole. `sizeBytes` is the size of the image. */
export async function createRaw(
  path: string,
  sizeBytes: number,
): Promise<BlockTarget & { readonly fd: number }> {
  const file = await NewFile.create(path);
  return {
    fd: file.fd,
    async write(offset, bytes) {
      assert(offset >= 0 && offset + bytes.length <= sizeBytes, 'a write outside of the image');
      await file.write(offset, bytes);
    },
    async finish() {
      await file.truncate(sizeBytes);
      await file.publish();
    },
    abort: () => file.abort(),
  };
}

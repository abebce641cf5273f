import { promisify } from 'node:util';
import { constants, inflateRaw, zstdDecompress } from 'node:zlib';
import { clusterCacheMax } from '../limits.ts';
import { corrupt } from './header.ts';
import type { CompressedCluster, Layer } from './layer.ts';
import { zstdFrameBytes } from './zstd-frame.ts';

const inflate = promisify(inflateRaw);
const unzstd = promisify(zstdDecompress);
/** A cluster has at most 2 MiB; a frame that asks for a window above 8 MiB is not one of ours. */
const zstdOptions = { params: { [constants.ZSTD_d_windowLogMax]: 23 } };

/**
 * Decompressed clusters, the last few of a chain. The compressed length counts in sectors, so
 * foreign bytes follow the compressed ones; the output never grows beyond one cluster, whatever the
 * bytes say.
 */
export class ClusterCache {
  readonly #clusters = new Map<string, Promise<Uint8Array>>();

  load(layer: Layer, cluster: CompressedCluster): Promise<Uint8Array> {
    const key = `${layer.file.fd}:${cluster.clusterOffset}`;
    const known = this.#clusters.get(key);
    if (known !== undefined) return known;
    const loaded = decompress(layer, cluster);
    this.#clusters.set(key, loaded);
    loaded.catch(() => this.#clusters.delete(key));
    if (this.#clusters.size > clusterCacheMax) {
      this.#clusters.delete(this.#clusters.keys().next().value!);
    }
    return loaded;
  }
}

async function decompress(layer: Layer, cluster: CompressedCluster): Promise<Uint8Array> {
  const { path } = layer.file;
  const { clusterSize, compression } = layer.header!;
  const stored = new Uint8Array(cluster.storedBytes);
  await layer.file.read(cluster.fileOffset, stored);
  let plain: Uint8Array;
  try {
    plain =
      compression === 'zstd'
        ? await unzstdFrames(stored, clusterSize)
        : await inflate(stored, {
            maxOutputLength: clusterSize,
            finishFlush: constants.Z_SYNC_FLUSH,
          });
  } catch (error) {
    throw corrupt(path, `the compressed cluster at ${cluster.fileOffset} does not decompress`, {
      offset: String(cluster.fileOffset),
      cause: (error as Error).message,
    });
  }
  if (plain.length !== clusterSize) {
    const what = `the compressed cluster at ${cluster.fileOffset} gives ${plain.length} bytes`;
    throw corrupt(path, what, { offset: String(cluster.fileOffset) });
  }
  return plain;
}

/** A cluster may consist of several frames; bytes behind the last one belong to others. */
async function unzstdFrames(stored: Uint8Array, clusterSize: number): Promise<Uint8Array> {
  const plain = new Uint8Array(clusterSize);
  let done = 0;
  for (let at = 0; done < clusterSize; ) {
    const length = zstdFrameBytes(stored.subarray(at));
    if (length === undefined) throw new Error('a zstd frame is not whole');
    const frame = stored.subarray(at, at + length);
    const part = await unzstd(frame, { ...zstdOptions, maxOutputLength: clusterSize - done });
    if (part.length === 0) throw new Error('a zstd frame is empty');
    plain.set(part, done);
    done += part.length;
    at += length;
  }
  return plain;
}

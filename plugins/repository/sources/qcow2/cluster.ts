import { promisify } from 'node:util';
import { constants, inflateRaw, zstdDecompress } from 'node:zlib';
import { clusterCacheMax } from '../limits.ts';
import { corrupt } from './header.ts';
import type { CompressedCluster, Layer } from './layer.ts';

const inflate = promisify(inflateRaw);
const unzstd = promisify(zstdDecompress);

/**
 * Decompressed clusters, the last few of a chain. The compressed length counts in sectors, so foreign bytes
 * follow the compressed ones; the output never grows beyond one cluster, whatever the bytes say.
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
        ? await unzstd(stored, { maxOutputLength: clusterSize })
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

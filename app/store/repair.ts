/** Repairs a repository from others and from images, without a server. */
import { openSource } from '../../plugins/repository/sources/open-source.ts';
import type { BlockSource } from '../../plugins/repository/sources/source.ts';
import type {
  RepairImage,
  RepairOptions,
  RepairReport,
} from '../../plugins/repository/store/store.ts';
import { Store } from '../../plugins/repository/store/store.ts';
import { withStore } from './with-store.ts';

export type RepairStoreOptions = RepairOptions & {
  /** Folders of other repositories. */
  from?: readonly string[];
  images?: readonly ImageToRepairFrom[];
  workers?: number;
};

/** Without names the image is tried for every package. */
export type ImageToRepairFrom = { path: string; packageId?: string; image?: string };

/** Replaces what is damaged by good copies. What could not be repaired is in the report. */
export async function repairStore(
  folder: string,
  options: RepairStoreOptions,
): Promise<RepairReport> {
  const { from = [], images = [], workers, ...rest } = options;
  const resources = workers === undefined ? {} : { workers };
  return await withStore(folder, resources, async (store, pool) => {
    const others: Store[] = [];
    const sources: BlockSource[] = [];
    try {
      for (const other of from) others.push(await Store.open(other, { pool }));
      const opened: RepairImage[] = [];
      for (const { path, ...names } of images) {
        const { source } = await openSource(path);
        sources.push(source);
        opened.push({ source, ...names });
      }
      return await store.repair({ ...rest, from: others, images: opened });
    } finally {
      for (const source of sources) await source.close();
      for (const other of others) await other.close();
    }
  });
}

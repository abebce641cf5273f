import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { definePlugin } from '../../sdk/plugin.ts';
import { CorePool } from '../../wasm/host/core-pool.ts';
import type { Signer } from './archive/signature.ts';
import { scratchFolderOf } from './service/archive.ts';
import { repositoryService } from './service/packages.ts';
import { Store } from './store/store.ts';

/** The configuration of a repository. */
export type RepositoryConfig = {
  /** The folder of the store. Default: "store" in the plugin's data folder. */
  folder?: string;
  /** Signs the manifests of exported archives. */
  signer?: Signer;
  /** PEM certificates of the authorities whose signers are believed on import. */
  authorities?: string[];
  /** Seconds in which a streamed package must bring its next piece. Default: 300. */
  streamIdleSeconds?: number;
};

/** The package repository: content-addressed storage of images, packages over them, and archives. */
export const repositoryPlugin = definePlugin({
  name: 'repository',
  role: 'repository',
  version: '0.1.0',
  start: async (context) => {
    const config = (context.config ?? {}) as RepositoryConfig;
    const { folder, signer, authorities, streamIdleSeconds } = config;
    const pool = await CorePool.open();
    try {
      const store = await Store.open(folder ?? join(context.dataFolder, 'store'), {
        pool,
        create: true,
        clock: context.clock,
        random: context.random,
      });
      const scratchFolder = scratchFolderOf(context.dataFolder);
      // What an import that was killed left there is of no use to anybody.
      await rm(scratchFolder, { recursive: true, force: true });
      await mkdir(scratchFolder, { recursive: true, mode: 0o700 });
      const settings = {
        scratchFolder,
        ...(signer && { signer }),
        ...(authorities && { trust: { authorities } }),
        ...(streamIdleSeconds !== undefined && { streamIdleMs: streamIdleSeconds * 1000 }),
      };
      return {
        services: [repositoryService(store, settings, context.logger)],
        stop: async () => {
          await store.close();
          await pool.close();
        },
      };
    } catch (error) {
      await pool.close();
      throw error;
    }
  },
});

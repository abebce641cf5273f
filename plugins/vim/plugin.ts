import { join } from 'node:path';
import { DriverService } from '../../gen/nfv/driver/v1/driver_pb.js';
import { RepositoryService } from '../../gen/nfv/repository/v1/repository_pb.js';
import { invalidArgument } from '../../sdk/errors.ts';
import { definePlugin, type PluginContext } from '../../sdk/plugin.ts';
import { openSqliteStore } from '../../sdk/records/sqlite-store.ts';
import { computeService } from './compute.ts';
import { Drivers } from './drivers.ts';
import { networkService } from './network.ts';
import { Openings } from './openings.ts';
import { Resources } from './resources.ts';
import { storageService } from './storage.ts';
import { Vim } from './vim.ts';
import { vnfcPackageService } from './vnfc-package.ts';

/** The configuration of a VIM: the plugin instances it works with. */
export type VimConfig = { drivers: string[]; repository: string };

/**
 * The virtualised infrastructure manager: knows which driver has which resource, passes resource management on to it,
 * and moves captured state between drivers and the repository (GR NFV-TST 005 clauses 6.6 and 7.2.3).
 */
export const vimPlugin = definePlugin({
  name: 'vim',
  role: 'vim',
  version: '0.1.0',
  dependsOn: ['nfvi', 'repository'],
  start: async (context) => {
    const config = parseConfig(context.config);
    const store = await openSqliteStore({
      path: join(context.dataFolder, 'vim.db'),
      clock: context.clock,
    });
    const drivers = new Drivers(config.drivers, (target) =>
      context.client(DriverService, { target }),
    );
    const { random, logger } = context;
    const vim = new Vim({
      drivers,
      resources: new Resources(store),
      openings: new Openings({ store, drivers, random, logger }),
      repository: context.client(RepositoryService, { target: config.repository }),
      logger,
    });
    await vim.openings.endAll();
    await recoverGuests(vim, context);
    return {
      services: [
        computeService(vim),
        storageService(vim),
        networkService(vim),
        vnfcPackageService(vim),
      ],
      stop: () => store.close(),
    };
  },
});

/** Hands every driver what it needs to find its running guests again. A guest that is gone shows as such in queries. */
async function recoverGuests(vim: Vim, { logger }: PluginContext): Promise<void> {
  for await (const { id: computeId, driver, version, data } of vim.resources.recoverable()) {
    try {
      const recoveryHandle = { version, data };
      await vim.drivers.client(driver).recoverCompute({ computeId, recoveryHandle });
    } catch (error) {
      logger.warn('a guest could not be taken over again', { computeId, driver, error });
    }
  }
}

function parseConfig(config: unknown): VimConfig {
  const { drivers, repository } = (config ?? {}) as Partial<VimConfig>;
  if (!Array.isArray(drivers) || drivers.some((name) => typeof name !== 'string')) {
    throw invalidArgument('CONFIG_INVALID', 'vim.drivers: must be a list of plugin instances');
  }
  if (typeof repository !== 'string' || repository === '') {
    throw invalidArgument('CONFIG_INVALID', 'vim.repository: must name a plugin instance');
  }
  return { drivers, repository };
}

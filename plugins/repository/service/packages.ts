import { PackageKind, RepositoryService } from '../../../gen/nfv/repository/v1/repository_pb.js';
import { isRpcError } from '../../../sdk/errors.ts';
import { paginate } from '../../../sdk/pagination.ts';
import type { Logger } from '../../../sdk/ports/logger.ts';
import { type Handlers, implement } from '../../../sdk/server.ts';
import type { Store } from '../store/store.ts';
import { type ArchiveSettings, exportPackage, importPackage } from './archive.ts';
import { collectGarbage, verifyPackages } from './care.ts';
import { packageInfo, storeKind } from './records.ts';
import { restoreImages, storePackage } from './store-package.ts';
import { storeStream } from './store-stream.ts';

export type RepositorySettings = ArchiveSettings & {
  /** Milliseconds in which a streamed package must bring its next piece. */
  streamIdleMs?: number;
};

/** The repository interface over a store. */
export function repositoryService(store: Store, settings: RepositorySettings, logger: Logger) {
  const handlers: Handlers<typeof RepositoryService> = {
    storePackage: (request, context) => storePackage(store, request, context),
    storePackageFromStream: (requests, context) =>
      storeStream(store, requests, context, settings.streamIdleMs),
    restoreImages: (request, context) => restoreImages(store, request, context),
    exportPackage: (request, context) => exportPackage(store, settings, request, context),
    importPackage: (request, context) => importPackage(store, settings, request, context),
    verifyPackages: (request, context) => verifyPackages(store, request, context),
    collectGarbage: (request, context) => collectGarbage(store, request, context),
    ...reading(store),
    ...changing(store),
  };
  return implement(RepositoryService, handlers, { logger });
}

function reading(store: Store): Handlers<typeof RepositoryService> {
  return {
    getPackage: async ({ packageId }) => ({
      package: packageInfo(await store.manifest(packageId)),
    }),
    listPackages: async ({ kind, pageSize, pageToken }) => {
      const { packages } = await store.list();
      const wanted = packages
        .filter((item) => kind === PackageKind.UNSPECIFIED || item.kind === storeKind(kind))
        .reverse();
      const page = paginate(wanted, { pageSize, pageToken, query: `${kind}`, key: ({ id }) => id });
      return { packages: page.items.map(packageInfo), nextPageToken: page.nextPageToken };
    },
    getPackageFile: async ({ packageId, name }) => {
      const reader = await store.openPackage(packageId);
      try {
        return { content: await reader.file(name) };
      } finally {
        await reader.close();
      }
    },
  };
}

function changing(store: Store): Handlers<typeof RepositoryService> {
  return {
    composePackage: async (request, { signal }) => {
      const composition = await store.compose({
        packageId: request.packageId,
        name: request.name,
        kind: storeKind(request.kind),
        labels: request.labels,
        ...(request.parentPackageId !== '' && { parent: request.parentPackageId }),
        signal,
      });
      try {
        for (const { packageId, imageName, name } of request.images) {
          await composition.reuseImage(packageId, imageName, name);
        }
        for (const { name, content } of request.files) {
          await composition.addFile({ name, bytes: content });
        }
      } catch (error) {
        await composition.abort();
        throw error;
      }
      return { package: packageInfo(await composition.publish()) };
    },
    deletePackage: async ({ packageId }) => {
      try {
        await store.delete(packageId);
      } catch (error) {
        if (!isRpcError(error, 'PACKAGE_UNKNOWN')) throw error;
      }
      return {};
    },
  };
}

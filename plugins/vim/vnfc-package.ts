import type { DataLocation } from '../../gen/nfv/common/v1/common_pb.js';
import type { PackageInfo } from '../../gen/nfv/repository/v1/repository_pb.js';
import { PackageKind } from '../../gen/nfv/repository/v1/repository_pb.js';
import {
  type CreateVnfcSnapshotPackageRequest,
  type ExtractVnfcSnapshotPackageRequest,
  VnfcSnapshotPackageService,
} from '../../gen/nfv/vnfc_snapshot_package/v1/vnfc_snapshot_package_pb.js';
import { internal, isRpcError } from '../../sdk/errors.ts';
import { failpoint } from '../../sdk/failpoint.ts';
import { type HandlerContext, implement } from '../../sdk/server.ts';
import { changedBlocks } from './changed-map.ts';
import type { DriverClient } from './drivers.ts';
import { isUnknown, type Vim } from './vim.ts';

/** How long cleaning up may take after the caller went away. */
const cleanUpDeadlineMs = 30_000;

/** VNFC snapshot packages: moves captured state between a driver and the repository. */
export function vnfcPackageService(vim: Vim) {
  return implement(
    VnfcSnapshotPackageService,
    {
      createVnfcSnapshotPackage: (request, context) => createPackage(vim, request, context),
      extractVnfcSnapshotPackage: (request, context) => extractPackage(vim, request, context),
      deleteVnfcSnapshotPackage: async ({ vnfcSnapshotPackageId: packageId, call }, context) => {
        await vim.repository.deletePackage(
          { packageId, ...(call && { call }) },
          vim.options(context),
        );
        return {};
      },
    },
    { logger: vim.logger },
  );
}

/** GR NFV-TST 005 clause 6.6.1 steps 4 and 5: the driver opens the captured state, the repository reads it. */
async function* createPackage(
  vim: Vim,
  request: CreateVnfcSnapshotPackageRequest,
  context: HandlerContext,
) {
  const { driver, client } = await vim.of('snapshot', request.snapshotId);
  const { signal } = context;
  const token = await vim.openings.begin(driver);
  try {
    const { locations } = await client.openSnapshotData(
      { snapshotId: request.snapshotId, transport: request.transport, token },
      vim.options(context),
    );
    const parent = await findParent(vim, request.parentPackageId, context);
    const images = [];
    for (const location of locations) {
      images.push(await imageSource(client, request, location, parent, signal));
    }
    await failpoint('vim.package.opened');
    const { snapshotId, vnfcSnapshotPackageId: packageId, call } = request;
    const stored = vim.repository.storePackage(
      {
        packageId,
        kind: PackageKind.VNFC,
        name: snapshotId,
        images,
        parentPackageId: parent?.packageId ?? '',
        labels: { ...request.labels, snapshotId, driver },
        ...(call && { call }),
      },
      { signal },
    );
    for await (const { event } of stored) yield { event };
  } finally {
    await vim.openings.end(token, driver);
  }
}

/** The parent, or nothing when none was named or it is gone: then every block is new to the record, not to the store. */
async function findParent(
  vim: Vim,
  packageId: string,
  context: HandlerContext,
): Promise<PackageInfo | undefined> {
  if (packageId === '') return undefined;
  try {
    return (await vim.repository.getPackage({ packageId }, vim.options(context))).package;
  } catch (thrown) {
    if (isRpcError(thrown, 'PACKAGE_UNKNOWN')) return undefined;
    throw thrown;
  }
}

async function imageSource(
  client: DriverClient,
  request: CreateVnfcSnapshotPackageRequest,
  location: DataLocation,
  parent: PackageInfo | undefined,
  signal: AbortSignal,
) {
  const name = request.imagePrefix + location.name;
  const source = {
    location: { ...location, name },
    sourceSnapshotId: request.snapshotId,
  };
  const base = parent?.images.find((image) => image.name === name)?.sourceSnapshotId;
  if (!base) return { ...source, noMapReason: 'there is no parent image' };
  const map = await changedBlocks(client, base, request.snapshotId, location.name, signal);
  if (typeof map === 'string') return { ...source, noMapReason: map };
  return { ...source, changedMap: { baseSnapshotId: base, ...map } };
}

/** Clause 6.6.3 steps 4 and 5: the repository writes the captured state where the driver says, as a snapshot. */
async function* extractPackage(
  vim: Vim,
  request: ExtractVnfcSnapshotPackageRequest,
  context: HandlerContext,
) {
  const { snapshotId, imagePrefix, call } = request;
  const driver = await vim.placeOf(request);
  const client = vim.drivers.client(driver);
  await vim.resources.place('snapshot', snapshotId, driver);
  const existing = await sealed(client, snapshotId, context, vim);
  if (existing) {
    yield { event: { case: 'snapshot' as const, value: { ...existing, driver } } };
    return;
  }
  try {
    const snapshot = { ...request.snapshot!, snapshotId, driver, imported: true };
    const { locations } = await client.beginSnapshotImport(
      { snapshot, ...(call && { call }) },
      vim.options(context),
    );
    await failpoint('vim.extract.begun');
    const targets = locations.map((location) => ({
      imageName: imagePrefix + location.name,
      location,
    }));
    const restore = vim.repository.restoreImages(
      { packageId: request.vnfcSnapshotPackageId, targets, ...(call && { call }) },
      { signal: context.signal },
    );
    for await (const { event } of restore) {
      if (event.case === 'progress') yield { event };
    }
    await failpoint('vim.extract.restored');
    const { snapshot: whole } = await client.sealSnapshotImport(
      { snapshotId, ...(call && { call }) },
      vim.options(context, 10 * 60_000),
    );
    if (!whole)
      throw internal('RESPONSE_INCOMPLETE', 'the driver sealed a snapshot without naming it');
    yield { event: { case: 'snapshot' as const, value: { ...whole, driver } } };
  } catch (thrown) {
    await client.deleteInstanceSnapshot({ snapshotId }, { deadlineMs: cleanUpDeadlineMs });
    await vim.resources.forget('snapshot', snapshotId);
    throw thrown;
  }
}

/** The snapshot, when an earlier call with the same id has made it whole. */
async function sealed(client: DriverClient, snapshotId: string, context: HandlerContext, vim: Vim) {
  try {
    return (await client.showInstanceSnapshot({ snapshotId }, vim.options(context))).snapshot;
  } catch (thrown) {
    if (isUnknown(thrown)) return undefined;
    throw thrown;
  }
}

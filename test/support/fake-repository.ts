import { readFile, writeFile } from 'node:fs/promises';
import {
  create,
  fromJson,
  type JsonObject,
  type MessageInitShape,
  toJson,
} from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { ImageRole, MapSource } from '../../gen/nfv/common/v1/common_pb.js';
import {
  type ComposePackageRequest,
  type ImageInfoSchema,
  type PackageInfo,
  PackageInfoSchema,
  PackageKind,
  RepositoryService,
} from '../../gen/nfv/repository/v1/repository_pb.js';
import { InstanceSnapshotSchema } from '../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import {
  type CreateVnfcSnapshotPackageRequest,
  type ExtractVnfcSnapshotPackageRequest,
  VnfcSnapshotPackageService,
} from '../../gen/nfv/vnfc_snapshot_package/v1/vnfc_snapshot_package_pb.js';
import { alreadyExists, notFound } from '../../sdk/errors.ts';
import { implement, type ServiceImplementation } from '../../sdk/server.ts';
import { type FakeWorld, fakeDriver } from './vnfm/fake-world.ts';

/** A package in memory: its images' contents are texts. */
type Stored = { info: PackageInfo; contents: Map<string, string>; files: Map<string, Uint8Array> };

type Images = MessageInitShape<typeof ImageInfoSchema>[];

/**
 * The repository in memory, whose archives are JSON files, and the package service of the VIM over
 * it.
 */
export class FakeRepository {
  readonly packages = new Map<string, Stored>();
  readonly world: FakeWorld;

  constructor(world: FakeWorld) {
    this.world = world;
  }

  get(packageId: string): Stored {
    const found = this.packages.get(packageId);
    if (!found) throw notFound('PACKAGE_UNKNOWN', `there is no package "${packageId}"`);
    return found;
  }

  /** The ids of the packages of a kind. */
  idsOf(kind: PackageKind): string[] {
    return [...this.packages.values()]
      .filter((p) => p.info.kind === kind)
      .map((p) => p.info.packageId);
  }

  publish(stored: Stored): PackageInfo {
    this.packages.set(stored.info.packageId, stored);
    return stored.info;
  }
}

export function fakeRepositoryServices(repository: FakeRepository): ServiceImplementation[] {
  return [repositoryService(repository), vnfcPackageService(repository)];
}

function repositoryService(repository: FakeRepository): ServiceImplementation {
  const { world, packages } = repository;
  return implement(RepositoryService, {
    composePackage: (request) =>
      world.once('compose', request.packageId, request.call, () => ({
        package: compose(repository, request),
      })),
    getPackage: async ({ packageId }) => ({ package: repository.get(packageId).info }),
    listPackages: async ({ kind }) => ({
      packages: repository.idsOf(kind).map((id) => repository.get(id).info),
    }),
    getPackageFile: async ({ packageId, name }) => {
      const content = repository.get(packageId).files.get(name);
      if (!content) throw notFound('FILE_NOT_FOUND', `there is no file "${name}"`);
      return { content };
    },
    deletePackage: ({ packageId, call }) =>
      world.once('deletePackage', packageId, call, () => {
        packages.delete(packageId);
        return {};
      }),
    exportPackage: async function* ({ packageId, path, call }) {
      yield { event: { case: 'progress' as const, value: { doneBytes: 1n } } };
      const sizeBytes = await world.once('export', packageId, call, () =>
        writeArchive(repository.get(packageId), path),
      );
      const checksum = { algorithm: 'SHA-256', hash: 'ab'.repeat(32) };
      yield { event: { case: 'result' as const, value: { path, sizeBytes, checksum } } };
    },
    importPackage: async function* ({ path, call }) {
      const value = await world.once('import', path, call, async () =>
        repository.publish(await readArchive(path)),
      );
      yield { event: { case: 'package' as const, value } };
    },
  });
}

function compose(repository: FakeRepository, request: ComposePackageRequest): PackageInfo {
  const contents = new Map<string, string>();
  const images = request.images.map(({ packageId, imageName, name }) => {
    const from = repository.get(packageId);
    contents.set(name, from.contents.get(imageName) ?? '');
    return { ...from.info.images.find((image) => image.name === imageName)!, name };
  });
  const info = packageInfo(request.packageId, PackageKind.VNF, images, request.name);
  info.parentPackageId = request.parentPackageId;
  const files = new Map(request.files.map((file) => [file.name, file.content]));
  return repository.publish({ info, contents, files });
}

function vnfcPackageService(repository: FakeRepository): ServiceImplementation {
  const { world } = repository;
  return implement(VnfcSnapshotPackageService, {
    createVnfcSnapshotPackage: async function* (request) {
      yield { event: { case: 'progress' as const, value: { doneBytes: 1n, activity: 'disk' } } };
      const value = await world.once('pack', request.vnfcSnapshotPackageId, request.call, () =>
        pack(repository, request),
      );
      yield { event: { case: 'package' as const, value } };
    },
    extractVnfcSnapshotPackage: async function* (request) {
      yield { event: { case: 'progress' as const, value: { doneBytes: 1n } } };
      const value = await world.once('extract', request.snapshotId, request.call, () =>
        extract(repository, request),
      );
      yield { event: { case: 'snapshot' as const, value } };
    },
    deleteVnfcSnapshotPackage: ({ vnfcSnapshotPackageId: id, call }) =>
      world.once('deletePackage', id, call, () => {
        repository.packages.delete(id);
        return {};
      }),
  });
}

function pack(repository: FakeRepository, request: CreateVnfcSnapshotPackageRequest): PackageInfo {
  const { info, disks, memory } = repository.world.snapshot(request.snapshotId);
  const contents = new Map<string, string>();
  const images = info.images.map((image) => {
    const name = request.imagePrefix + image.name;
    contents.set(
      name,
      image.role === ImageRole.MEMORY ? String(memory) : (disks[image.name] ?? ''),
    );
    return {
      ...{ name, role: image.role, logicalBytes: image.sizeBytes, bytesRead: image.sizeBytes },
      ...{ blocks: 1n, newBlocks: 1n, storedBytes: 10n, mapSource: MapSource.FULL },
    };
  });
  const stored = packageInfo(request.vnfcSnapshotPackageId, PackageKind.VNFC, images, '');
  stored.parentPackageId = request.parentPackageId;
  return repository.publish({ info: stored, contents, files: new Map() });
}

function extract(repository: FakeRepository, request: ExtractVnfcSnapshotPackageRequest) {
  const { contents } = repository.get(request.vnfcSnapshotPackageId);
  const { snapshotId, imagePrefix } = request;
  const info = create(InstanceSnapshotSchema, {
    ...request.snapshot!,
    ...{ snapshotId, driver: fakeDriver, imported: true },
  });
  const content = (name: string) => contents.get(imagePrefix + name) ?? '';
  const disks = Object.fromEntries(
    info.images.filter((i) => i.role === ImageRole.DISK).map((i) => [i.name, content(i.name)]),
  );
  repository.world.snapshots.set(snapshotId, { info, disks, memory: Number(content('memory')) });
  return info;
}

function packageInfo(
  packageId: string,
  kind: PackageKind,
  images: Images,
  name: string,
): PackageInfo {
  const createTime = timestampFromMs(Date.now());
  return create(PackageInfoSchema, { packageId, kind, name, createTime, images });
}

async function writeArchive({ info, contents, files }: Stored, path: string): Promise<bigint> {
  const text = JSON.stringify({
    info: toJson(PackageInfoSchema, info),
    contents: [...contents],
    files: [...files].map(([name, bytes]) => [name, Buffer.from(bytes).toString('base64')]),
  });
  try {
    await writeFile(path, text, { flag: 'wx' });
  } catch (thrown) {
    throw alreadyExists('ARCHIVE_EXISTS', (thrown as Error).message);
  }
  return BigInt(text.length);
}

async function readArchive(path: string): Promise<Stored> {
  const archive = JSON.parse(await readFile(path, 'utf8')) as {
    info: JsonObject;
    contents: [string, string][];
    files: [string, string][];
  };
  return {
    info: fromJson(PackageInfoSchema, archive.info),
    contents: new Map(archive.contents),
    files: new Map(archive.files.map(([name, text]) => [name, Buffer.from(text, 'base64')])),
  };
}

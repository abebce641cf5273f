/**
 * The package store: packages of images over shared blocks; docs/storage-format.md is the contract.
 */
import { readdir } from 'node:fs/promises';
import { failedPrecondition, invalidArgument, RpcError } from '../../../sdk/errors.ts';
import { failpoint } from '../../../sdk/failpoint.ts';
import { type Clock, systemClock } from '../../../sdk/ports/clock.ts';
import { type Random, systemRandom } from '../../../sdk/ports/random.ts';
import type { CorePool } from '../../../wasm/host/core-pool.ts';
import type { BlockTarget } from '../targets/target.ts';
import { Catalog } from './catalog.ts';
import { Composition, type CompositionOptions } from './composition.ts';
import { checkConfiguration, createConfiguration, hasConfiguration } from './configuration.ts';
import { diffPackages, type ImageDiff } from './diff.ts';
import { packageNotFound } from './faults.ts';
import { FolderBackend } from './folder-backend.ts';
import { hasCode, toStoreError } from './folder-errors.ts';
import { collectGarbage, type GcOptions, type GcReport } from './gc.ts';
import { Lease, type LeaseKind, sweepLeases } from './lease.ts';
import { leaseTermMs, segmentBytesMax } from './limits.ts';
import type { Manifest } from './manifest.ts';
import { manifestName, packagesPrefix, stems } from './object-names.ts';
import {
  checkPackRequest,
  type ImageInput,
  type PackJob,
  type PackOptions,
  type PackResult,
  runPack,
} from './pack.ts';
import { PackageReader } from './package-reader.ts';
import { PackageWriter } from './package-writer.ts';
import { pinPackage, readManifest } from './pinned-package.ts';
import { leaseContext, type StoreContext } from './store-context.ts';
import { type UnpackOptions, type UnpackResult, unpackImage } from './unpack.ts';
import { type VerifyOptions, type VerifyReport, verify } from './verify.ts';

export type StoreOptions = {
  /** Does the hashing and compressing; it belongs to the caller, who closes it after the store. */
  pool: CorePool;
  /** Make the repository when the folder is missing or empty. Default false. */
  create?: boolean;
  clock?: Clock;
  random?: Random;
  /** Term of leases in milliseconds; for tests. */
  leaseTermMs?: number;
  /** Size at which a segment is closed, in bytes; for tests. */
  segmentBytesMax?: number;
};

/** A package whose manifest cannot be read. */
export type DamagedPackage = { id: string; error: RpcError };

/** An open repository. Any number of processes may have it open. OPEN → CLOSED. */
export class Store {
  readonly folder: string;
  private readonly context: StoreContext;
  private readonly leases = new Set<Lease>();

  private constructor(folder: string, context: StoreContext) {
    this.folder = folder;
    this.context = context;
  }

  /**
   * Opens the repository in a folder and removes what dead writers left. REPOSITORY_NOT_FOUND
   * (NOT_FOUND), NOT_A_REPOSITORY, FORMAT_TOO_NEW (FAILED_PRECONDITION), OBJECT_DAMAGED
   * (DATA_LOSS).
   */
  static async open(folder: string, options: StoreOptions): Promise<Store> {
    const backend = new FolderBackend(folder);
    const context: StoreContext = {
      backend,
      catalog: new Catalog(backend),
      pool: options.pool,
      clock: options.clock ?? systemClock,
      random: options.random ?? systemRandom,
      leaseTermMs: options.leaseTermMs ?? leaseTermMs,
      segmentBytesMax: options.segmentBytesMax ?? segmentBytesMax,
    };
    if (options.create && !(await hasConfiguration(backend))) {
      await refuseForeignFolder(folder);
      await backend.createFolders();
      await createConfiguration(leaseContext(context));
    }
    await checkConfiguration(backend);
    await sweepLeases(leaseContext(context));
    return new Store(folder, context);
  }

  /**
   * Makes a package of images and files. With a parent only what changed is stored; with a changed
   * map as well, only that and a few samples are read. Repeating it with the same id and content
   * returns the first package.
   */
  async pack(inputs: readonly ImageInput[], options: PackOptions = {}): Promise<PackResult> {
    checkPackRequest(inputs, options);
    return await this.withLease('write', async (lease) => {
      const { context } = this;
      const parent = options.parent;
      const manifest = parent && (await pinPackage(context.backend, lease, parent));
      await context.catalog.refresh();
      if (manifest) this.refuseDamagedParent(manifest.id);
      await failpoint('store.after-lease');
      const { random, segmentBytesMax: bytesMax, catalog } = context;
      const writer = new PackageWriter(catalog, lease, random, bytesMax);
      const signal = joinSignals(lease.signal, options.signal);
      const job: PackJob = { context, writer, inputs, options, signal };
      return await runPack(manifest ? { ...job, parent: { manifest } } : job);
    });
  }

  /** Begins a package that is put together piece by piece; publish or abort it. */
  async compose(options: CompositionOptions): Promise<Composition> {
    const { context } = this;
    checkPackRequest([], options);
    const lease = await this.take('write');
    try {
      await context.catalog.refresh();
      const writer = new PackageWriter(
        context.catalog,
        lease,
        context.random,
        context.segmentBytesMax,
      );
      return new Composition({ context, lease, writer, options, end: () => this.end(lease) });
    } catch (error) {
      await this.end(lease);
      throw error;
    }
  }

  /** Opens a package for reading; close it. PACKAGE_UNKNOWN (NOT_FOUND). */
  async openPackage(packageId: string): Promise<PackageReader> {
    const { context } = this;
    const lease = await this.take('read');
    const end = () => this.end(lease);
    try {
      const manifest = await pinPackage(context.backend, lease, packageId);
      await context.catalog.refresh();
      return new PackageReader(context, manifest, lease, end);
    } catch (error) {
      await end();
      throw error;
    }
  }

  /**
   * Writes images of a package to targets, which it finishes or aborts. `targets`: image name to
   * target.
   */
  async unpack(
    packageId: string,
    targets: ReadonlyMap<string, BlockTarget>,
    options: UnpackOptions = {},
  ): Promise<UnpackResult[]> {
    const reader = await this.openPackage(packageId);
    const signal = joinSignals(reader.signal, options.signal);
    try {
      const results: UnpackResult[] = [];
      for (const [name, target] of targets) {
        results.push(await unpackImage(reader.image(name), target, { ...options, signal }));
      }
      return results;
    } finally {
      // Those not reached; `abort` does nothing to a finished one.
      for (const target of targets.values()) await target.abort();
      await reader.close();
    }
  }

  /** All packages, oldest first, and those whose manifest cannot be read. */
  async list(): Promise<{ packages: Manifest[]; damaged: DamagedPackage[] }> {
    const { backend } = this.context;
    const packages: Manifest[] = [];
    const damaged: DamagedPackage[] = [];
    for (const id of stems(await backend.list(packagesPrefix), packagesPrefix, '.manifest')) {
      try {
        packages.push((await readManifest(backend, id)).manifest);
      } catch (error) {
        const known = RpcError.from(error);
        // Deleted since the listing.
        if (known.reason !== 'PACKAGE_UNKNOWN') damaged.push({ id, error: known });
      }
    }
    packages.sort((a, b) => (a.createdAt < b.createdAt ? -1 : a.createdAt > b.createdAt ? 1 : 0));
    return { packages, damaged };
  }

  /** The manifest of a package. PACKAGE_UNKNOWN (NOT_FOUND), OBJECT_DAMAGED (DATA_LOSS). */
  async manifest(packageId: string): Promise<Manifest> {
    return (await readManifest(this.context.backend, packageId)).manifest;
  }

  /** Deletes a package; its blocks stay until garbage is collected. PACKAGE_UNKNOWN (NOT_FOUND). */
  async delete(packageId: string): Promise<void> {
    const { backend } = this.context;
    const wasThere = await backend.delete(manifestName(packageId));
    if (!wasThere) throw packageNotFound(packageId);
    await failpoint('store.after-delete');
    await backend.sync(packagesPrefix);
  }

  /** Checks what is stored, or what one package needs. Damage is in the report, not thrown. */
  async verify(options: VerifyOptions = {}): Promise<VerifyReport> {
    const { sample } = options;
    if (sample !== undefined && !(sample > 0 && sample <= 1)) {
      const text = `sample is ${sample}: must be more than 0 and at most 1`;
      throw invalidArgument('FIELD_VIOLATION', text, { field: 'sample' });
    }
    return await this.withLease('read', async (lease) => {
      const signal = joinSignals(lease.signal, options.signal);
      return await verify(this.context, { ...options, signal });
    });
  }

  /** What changed from package `a` to package `b`, image by image. */
  async diff(a: string, b: string): Promise<ImageDiff[]> {
    const from = await this.openPackage(a);
    try {
      const to = await this.openPackage(b);
      return await diffPackages(from, to).finally(() => to.close());
    } finally {
      await from.close();
    }
  }

  /**
   * Frees what no package needs. GC_RUNNING (FAILED_PRECONDITION), REPOSITORY_DAMAGED (DATA_LOSS).
   */
  async gc(options: GcOptions = {}): Promise<GcReport> {
    return await this.withLease('gc', (lease) =>
      collectGarbage(this.context, lease, options),
    ).finally(() => this.context.backend.keepReserve());
  }

  /** Closes files. No operation may be in progress. */
  async close(): Promise<void> {
    await this.context.catalog.close();
  }

  private refuseDamagedParent(parent: string): void {
    const damaged = this.context.catalog.damaged[0];
    if (damaged === undefined) return;
    const text = `${damaged.error.message}: package "${parent}" may need it; pack without a parent`;
    throw new RpcError(damaged.error.code, 'REPOSITORY_DAMAGED', text, {
      ...damaged.error.metadata,
    });
  }

  private async withLease<T>(kind: LeaseKind, work: (lease: Lease) => Promise<T>): Promise<T> {
    const lease = await this.take(kind);
    try {
      return await work(lease);
    } finally {
      await this.end(lease);
    }
  }

  private async take(kind: LeaseKind): Promise<Lease> {
    const lease = await Lease.take(leaseContext(this.context), kind);
    this.leases.add(lease);
    return lease;
  }

  // An open file keeps the space of a deleted segment, so none stays open when nobody needs it.
  private async end(lease: Lease): Promise<void> {
    if (!this.leases.delete(lease)) return;
    await lease.release();
    if (this.leases.size === 0) await this.context.catalog.close();
  }
}

function joinSignals(a: AbortSignal, b: AbortSignal | undefined): AbortSignal {
  return b === undefined ? a : AbortSignal.any([a, b]);
}

async function refuseForeignFolder(folder: string): Promise<void> {
  const own = new Set(['packages', 'segments', 'indexes', 'quarantine', 'tmp', 'lost+found']);
  let names: string[];
  try {
    names = await readdir(folder);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return;
    throw toStoreError(error, folder);
  }
  const foreign = names.find((name) => !own.has(name));
  if (foreign === undefined) return;
  const text = `${folder} has other content ("${foreign}"): name an empty or new folder`;
  throw failedPrecondition('NOT_A_REPOSITORY', text, { path: folder, found: foreign });
}

export type { ByteRange } from './change-map.ts';
export type { Composition, CompositionOptions } from './composition.ts';
export type { ImageDiff } from './diff.ts';
export type { GcOptions, GcReport } from './gc.ts';
export type { ExportedBlock, ImageReader, StoredRun } from './image-reader.ts';
export type { FileRecord, ImageRecord, Manifest, MapSource, PackageKind } from './manifest.ts';
export type {
  ImageInput,
  PackedImageResult,
  PackOptions,
  PackProgress,
  PackResult,
} from './pack.ts';
export type { PackageReader } from './package-reader.ts';
export type { NewFile } from './package-writer.ts';
export type { DigestKind, UnpackOptions, UnpackResult } from './unpack.ts';
export type { Damage, VerifyOptions, VerifyReport } from './verify.ts';

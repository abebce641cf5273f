/**
 * The package store: packages of images over shared blocks; docs/storage-format.md is the contract.
 */
import { invalidArgument, RpcError } from '../../../sdk/errors.ts';
import { failpoint } from '../../../sdk/failpoint.ts';
import { type Clock, systemClock } from '../../../sdk/ports/clock.ts';
import { type Random, systemRandom } from '../../../sdk/ports/random.ts';
import type { CorePool } from '../../../wasm/host/core-pool.ts';
import type { BlockTarget } from '../targets/target.ts';
import { Catalog } from './catalog.ts';
import { readCheckpoints, type Unfinished, unfinished, withUnfinished } from './checkpoint.ts';
import { Composition, type CompositionOptions } from './composition.ts';
import { checkConfiguration, createConfiguration, hasConfiguration } from './configuration.ts';
import { diffPackages, type ImageDiff } from './diff.ts';
import { packageNotFound } from './faults.ts';
import { FolderBackend } from './folder-backend.ts';
import { refuseForeignFolder } from './foreign-folder.ts';
import { type ForgetOptions, type ForgetReport, forgetPackages } from './forget.ts';
import { collectGarbage, type GcOptions, type GcReport } from './gc.ts';
import { Lease, type LeaseKind, sweepLeases } from './lease.ts';
import { checkpointBytesMin, checkpointMsMin, leaseTermMs, segmentBytesMax } from './limits.ts';
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
import { forgetCheckpoint, forgetPackage, type Identity, PackResume } from './pack-resume.ts';
import { PackageReader } from './package-reader.ts';
import { PackageWriter } from './package-writer.ts';
import { pinPackage, readManifest, refuseDamagedParent } from './pinned-package.ts';
import { type RepairOptions, type RepairReport, repair } from './repair.ts';
import { type CopySource, ImageCopies, type RepairImage, StoreCopies } from './repair-sources.ts';
import { digest, keyOf, packIdentity } from './resume-identity.ts';
import { checkPolicy, type RetentionPolicy } from './retention.ts';
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
  /** Least time and bytes read between two checkpoints; for tests. */
  checkpointMsMin?: number;
  checkpointBytesMin?: number;
  /** Entries whose places are kept in memory; for tests. */
  memoryEntriesMax?: number;
};

/** Where good copies may be found: other repositories, images. */
export type StoreRepairOptions = RepairOptions & {
  from?: readonly Store[];
  images?: readonly RepairImage[];
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
      catalog: new Catalog(backend, options),
      memoryEntriesMax: options.memoryEntriesMax,
      pool: options.pool,
      clock: options.clock ?? systemClock,
      random: options.random ?? systemRandom,
      leaseTermMs: options.leaseTermMs ?? leaseTermMs,
      segmentBytesMax: options.segmentBytesMax ?? segmentBytesMax,
      checkpointMsMin: options.checkpointMsMin ?? checkpointMsMin,
      checkpointBytesMin: options.checkpointBytesMin ?? checkpointBytesMin,
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
      const identity = packIdentity(inputs, options, manifest || undefined);
      const resume = await this.openResume(lease, identity, options.resume);
      await context.catalog.refresh();
      if (manifest) refuseDamagedParent(context.catalog, manifest.id);
      await failpoint('store.after-lease');
      const { random, segmentBytesMax: bytesMax, catalog } = context;
      const writer = new PackageWriter(catalog, lease, random, bytesMax);
      const signal = joinSignals(lease.signal, options.signal);
      const job: PackJob = { context, writer, inputs, options, signal, resume };
      try {
        const result = await runPack(manifest ? { ...job, parent: { manifest } } : job);
        // Also of a run that this one could not go on with, because another was at it.
        if (options.packageId !== undefined) await forgetCheckpoint(context, identity.key);
        return result;
      } catch (error) {
        await resume?.fail(error);
        throw await withUnfinished(error, () => this.listUnfinished());
      }
    });
  }

  /** Begins a package that is put together piece by piece; publish or abort it. */
  async compose(options: CompositionOptions): Promise<Composition> {
    const { context } = this;
    checkPackRequest([], options);
    const lease = await this.take('write');
    try {
      const { packageId, identity } = options;
      const request = digest(JSON.stringify([identity]));
      const key = keyOf(packageId);
      const resume =
        identity === undefined
          ? undefined
          : await this.openResume(lease, { key, request }, options.resume);
      await context.catalog.refresh();
      const writer = new PackageWriter(
        context.catalog,
        lease,
        context.random,
        context.segmentBytesMax,
      );
      return new Composition({
        context,
        lease,
        writer,
        options,
        resume,
        end: () => this.end(lease),
      });
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

  /** Packages that an interrupted run began and a repetition goes on with, oldest first. */
  async listUnfinished(): Promise<Unfinished[]> {
    const found: Unfinished[] = [];
    for (const [key, checkpoint] of await readCheckpoints(this.context.backend)) {
      if (checkpoint !== undefined) found.push(unfinished(key, checkpoint));
    }
    return found.sort((a, b) => (a.updatedAt < b.updatedAt ? -1 : 1));
  }

  /** The manifest of a package. PACKAGE_UNKNOWN (NOT_FOUND), OBJECT_DAMAGED (DATA_LOSS). */
  async manifest(packageId: string): Promise<Manifest> {
    return (await readManifest(this.context.backend, packageId)).manifest;
  }

  /**
   * Deletes a package, also an unfinished one; its blocks stay until garbage is collected.
   * PACKAGE_UNKNOWN (NOT_FOUND).
   */
  async delete(packageId: string): Promise<void> {
    const { backend } = this.context;
    const wasBegun = await forgetPackage(this.context, packageId);
    const wasThere = await backend.delete(manifestName(packageId));
    if (!wasThere && !wasBegun) throw packageNotFound(packageId);
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

  /**
   * Replaces what is damaged or missing by good copies, of this store, of others (which stay open
   * meanwhile) or of images. What is left is in the report. GC_RUNNING (FAILED_PRECONDITION).
   */
  async repair(options: StoreRepairOptions = {}): Promise<RepairReport> {
    const { from = [], images = [], ...rest } = options;
    return await this.withLease('gc', async (lease) => {
      const signal = joinSignals(lease.signal, options.signal);
      const others: { store: Store; lease: Lease }[] = [];
      try {
        const sources: CopySource[] = [];
        for (const store of from) {
          const { catalog } = store.context;
          others.push({ store, lease: await store.take('read') });
          await catalog.refresh();
          sources.push(new StoreCopies(catalog, this.context.pool));
        }
        for (const image of images) sources.push(new ImageCopies(image, signal));
        return await repair(this.context, lease, sources, { ...rest, signal });
      } finally {
        for (const { store, lease: read } of others) await store.end(read);
      }
    });
  }

  /**
   * Deletes the packages that a policy does not keep. POLICY_INVALID (INVALID_ARGUMENT),
   * REPOSITORY_DAMAGED (DATA_LOSS): then nothing was deleted.
   */
  async forget(policy: RetentionPolicy, options: ForgetOptions = {}): Promise<ForgetReport> {
    checkPolicy(policy);
    return await this.withLease('read', async (lease) => {
      const { packages, damaged } = await this.list();
      if (damaged[0]) throw damaged[0].error;
      const signal = joinSignals(lease.signal, options.signal);
      return await forgetPackages(this.context, packages, policy, { ...options, signal });
    });
  }

  /** Closes files. No operation may be in progress. */
  async close(): Promise<void> {
    await this.context.catalog.close();
  }

  // Without `wanted` what an earlier run left is given up, so that nothing of either stays.
  private async openResume(
    lease: Lease,
    identity: Identity,
    wanted = true,
  ): Promise<PackResume | undefined> {
    const resume = await PackResume.open(this.context, lease, identity);
    if (wanted) return resume;
    await resume?.end();
    return undefined;
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
    if (this.leases.size === 0) await this.context.catalog.release(true);
  }
}

function joinSignals(a: AbortSignal, b: AbortSignal | undefined): AbortSignal {
  return b === undefined ? a : AbortSignal.any([a, b]);
}

export type { ByteRange } from './change-map.ts';
export type { Unfinished } from './checkpoint.ts';
export type { Composition, CompositionOptions } from './composition.ts';
export type { ImageDiff } from './diff.ts';
export type { ForgetOptions, ForgetReport } from './forget.ts';
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
export type { RepairOptions, RepairReport } from './repair.ts';
export type { RepairImage } from './repair-sources.ts';
export type { RetentionPolicy, Verdict } from './retention.ts';
export type { DigestKind, UnpackOptions, UnpackResult } from './unpack.ts';
export type { Damage, VerifyOptions, VerifyReport } from './verify.ts';

/** Replaces what is damaged or missing by good copies; docs/storage-format.md section 6.1. */
import { isRpcError } from '../../../sdk/errors.ts';
import { failpoint } from '../../../sdk/failpoint.ts';
import { Bits } from './bits.ts';
import type { Suspects } from './block-index.ts';
import { Catalog } from './catalog.ts';
import { formatFramed } from './framed-text.ts';
import { rewriteSegments } from './gc-rewrite.ts';
import { formatId } from './ids.ts';
import { entryKind } from './index-codec.ts';
import { type Lease, refuseSecondCollection, sweepLeases } from './lease.ts';
import { damagesMax, markerSegmentsMax } from './limits.ts';
import type { Manifest } from './manifest.ts';
import { manifestName, markerName, packagesPrefix, stems } from './object-names.ts';
import { readManifest } from './pinned-package.ts';
import { readMarkers } from './quarantine.ts';
import type { CopySource } from './repair-sources.ts';
import { RepairWriter } from './repair-writer.ts';
import { leaseContext, type StoreContext } from './store-context.ts';
import { type Place, type Wanted, walkPackage } from './tree-walk.ts';
import { type Damage, placeOf, type VerifyOptions, verify } from './verify.ts';

export type RepairOptions = {
  /** Finds out what could be repaired and changes nothing; needs the space of the copies meanwhile. */
  dryRun?: boolean;
  onProgress?: VerifyOptions['onProgress'];
  signal?: AbortSignal;
};

export type RepairReport = {
  /** Nothing is left: everything that is stored is whole. */
  isWhole: boolean;
  /** Faults that were there before. */
  damageCount: number;
  /** Packages whose manifest was taken from another repository. */
  restoredPackages: string[];
  /** What was brought in from other repositories and images. */
  blocks: number;
  pages: number;
  files: number;
  /** Stored bytes of it, and of whole entries that were copied out of damaged segments. */
  storedBytes: number;
  copiedBytes: number;
  /** Segments that are marked now, so that they are read last and collected. */
  markedSegments: number;
  leftCount: number;
  /** What could not be repaired: at most 1000 of it. */
  left: Damage[];
};

/** Runs under a lease of kind `gc`. GC_RUNNING, FORMAT_TOO_NEW (FAILED_PRECONDITION). */
export async function repair(
  context: StoreContext,
  lease: Lease,
  sources: readonly CopySource[],
  options: RepairOptions & { signal: AbortSignal },
): Promise<RepairReport> {
  const live = await sweepLeases(leaseContext(context));
  refuseSecondCollection(
    lease.record,
    live.filter(({ id }) => id !== lease.record.id),
  );
  return await new Repair(context, lease, sources, options).run();
}

class Repair {
  private readonly context: StoreContext;
  private readonly lease: Lease;
  private readonly sources: readonly CopySource[];
  private readonly options: RepairOptions & { signal: AbortSignal };
  private readonly suspects: Suspects = new Map();
  private readonly writer: RepairWriter;
  private readonly restored: string[] = [];
  private readonly lost: Damage[] = [];
  private readonly unfound: { wanted: Wanted; place: Place; error: Error }[] = [];
  private copiedBytes = 0;
  private markedSegments = 0;

  constructor(
    context: StoreContext,
    lease: Lease,
    sources: readonly CopySource[],
    options: RepairOptions & { signal: AbortSignal },
  ) {
    this.context = context;
    this.lease = lease;
    this.sources = sources;
    this.options = options;
    this.writer = new RepairWriter(context, lease);
  }

  async run(): Promise<RepairReport> {
    const { onProgress, signal, dryRun = false } = this.options;
    const check = { signal, ...(onProgress && { onProgress }) };
    const { damageCount, isWhole } = await verify(this.context, check, this.suspects);
    if (isWhole) return this.report(0, []);
    const manifests = await this.readManifests(dryRun);
    await this.fill(manifests, dryRun);
    if (dryRun) {
      const left = await this.unrepaired();
      await this.writer.discard();
      return this.report(damageCount, left);
    }
    await this.mark();
    const after = await verify(this.context, check);
    return { ...this.report(damageCount, after.damages), leftCount: after.damageCount };
  }

  private report(damageCount: number, left: Damage[]): RepairReport {
    const { blocks, pages, files, storedBytes } = this.writer;
    const { copiedBytes, markedSegments } = this;
    return {
      isWhole: left.length === 0,
      damageCount,
      restoredPackages: this.restored,
      ...{ blocks, pages, files, storedBytes, copiedBytes, markedSegments },
      leftCount: left.length,
      left,
    };
  }

  private async readManifests(dryRun: boolean): Promise<Manifest[]> {
    const { backend } = this.context;
    const manifests: Manifest[] = [];
    for (const id of stems(await backend.list(packagesPrefix), packagesPrefix, '.manifest')) {
      try {
        manifests.push((await readManifest(backend, id)).manifest);
      } catch (error) {
        // Deleted since the listing.
        if (isRpcError(error, 'PACKAGE_UNKNOWN')) continue;
        if (!isRpcError(error, 'OBJECT_DAMAGED')) throw error;
        const found = await this.findManifest(id);
        if (found === undefined) {
          const { path = '', offset = '0', problem = error.message } = error.metadata;
          const { reason } = error;
          this.lost.push({ path, objectOffset: Number(offset), problem, reason, packageId: id });
          continue;
        }
        if (!dryRun) await this.replaceManifest(id, found.bytes);
        this.restored.push(id);
        manifests.push(found.manifest);
      }
    }
    return manifests;
  }

  private async findManifest(packageId: string) {
    for (const source of this.sources) {
      const found = await source.manifest(packageId);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  private async replaceManifest(packageId: string, bytes: Uint8Array): Promise<void> {
    const { area } = this.lease;
    const staged = await area.stage(`manifest-${packageId}`);
    await staged.append([bytes]);
    await staged.finish();
    await area.replaceObject({ staged, name: manifestName(packageId) });
    await failpoint('store.repair-after-manifest');
  }

  // Looks everything up without what is damaged. What is not found comes from elsewhere; what only a
  // marked segment has is copied, so that nothing needs it any more.
  private async fill(manifests: readonly Manifest[], dryRun: boolean): Promise<void> {
    const { backend, memoryEntriesMax } = this.context;
    const { suspects, options } = this;
    const catalog = new Catalog(backend, { memoryEntriesMax, checksAll: true, suspects });
    try {
      await catalog.refresh();
      const live = new Bits(catalog.index.entryCount);
      const whole = new Bits(catalog.index.entryCount);
      for (const manifest of manifests) {
        await walkPackage(catalog, manifest, {
          enterPage: (ordinal) => {
            live.add(ordinal);
            return !whole.has(ordinal);
          },
          leavePage: (ordinal) => whole.add(ordinal),
          reach: (ordinal) => live.add(ordinal),
          replace: (wanted, place) => this.replace(wanted, place),
          fault: () => undefined,
        });
        options.signal.throwIfAborted();
      }
      if (dryRun) return;
      await this.writer.publish();
      await failpoint('store.repair-after-publish');
      const marked = catalog.index.segments.filter(({ isQuarantined }) => isQuarantined);
      const ids = new Set(marked.map(({ id }) => id));
      const copied = await rewriteSegments(this.context, this.lease, { catalog, live }, ids);
      this.copiedBytes = copied.copiedBytes;
      await failpoint('store.repair-after-copy');
    } finally {
      await catalog.close();
    }
  }

  private async replace(wanted: Wanted, place: Place): Promise<Uint8Array | undefined> {
    this.options.signal.throwIfAborted();
    // Of a block the walk asks only whether there is one.
    if (wanted.kind !== entryKind.page && (await this.writer.has(wanted))) return wanted.id;
    for (const source of this.sources) {
      const bytes = await source.read(wanted, place);
      if (bytes !== undefined && (await this.writer.put(wanted, bytes))) return bytes;
    }
    if (this.unfound.length < damagesMax) {
      const error = new Error(`nothing whole has the id ${formatId(wanted.id)}`);
      this.unfound.push({ wanted, place, error });
    }
    return undefined;
  }

  // What one package has no source for may have come through another.
  private async unrepaired(): Promise<Damage[]> {
    const left = [...this.lost];
    for (const { wanted, place, error } of this.unfound) {
      if (await this.writer.has(wanted)) continue;
      const path = this.context.backend.path(formatId(wanted.id));
      const fault = { path, objectOffset: 0, problem: error.message, reason: 'OBJECT_MISSING' };
      left.push({ ...fault, ...placeOf(place) });
    }
    return left;
  }

  private async mark(): Promise<void> {
    const markers = await readMarkers(this.context.backend);
    const known = new Set(markers.filter(({ isDamage }) => isDamage).flatMap((m) => m.segments));
    const segments = [...this.suspects.keys()].filter((id) => !known.has(id));
    for (let start = 0; start < segments.length; start += markerSegmentsMax) {
      const some = segments.slice(start, start + markerSegmentsMax);
      const run = this.context.random.uuid();
      const staged = await this.lease.area.stage(`marker-${run}`);
      await staged.append([formatFramed('marker', { segments: some, reason: 'damage' })]);
      await staged.finish();
      await this.lease.area.publish([{ staged, name: markerName(run) }]);
      await failpoint('store.repair-after-marker');
    }
    this.markedSegments = segments.length;
  }
}

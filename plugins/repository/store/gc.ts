/** Garbage collection beside running writers; docs/storage-format.md section 7. */
import { invalidArgument, isRpcError } from '../../../sdk/errors.ts';
import { failpoint } from '../../../sdk/failpoint.ts';
import type { Backend } from './backend.ts';
import { expiresMs, readCheckpoints } from './checkpoint.ts';
import { formatFramed } from './framed-text.ts';
import { estimateGarbage } from './gc-estimate.ts';
import { type Marked, mark, wear } from './gc-mark.ts';
import { type Rewritten, rewriteSegments } from './gc-rewrite.ts';
import { type Lease, type LeaseRecord, refuseSecondCollection, sweepLeases } from './lease.ts';
import { markerSegmentsMax, rewriteThresholdDefault } from './limits.ts';
import {
  blockersName,
  indexesPrefix,
  indexName,
  manifestName,
  markerName,
  quarantinePrefix,
  segmentName,
  segmentsPrefix,
  stems,
} from './object-names.ts';
import { forgetCheckpoint, isClaimed } from './pack-resume.ts';
import { type Marker, readBlockers, readMarkers } from './quarantine.ts';
import { leaseContext, type StoreContext } from './store-context.ts';

export type GcOptions = {
  /**
   * Share of a segment's bytes that must be garbage before it is rewritten: more than 0, up to 1;
   * default 0.5.
   */
  rewriteThreshold?: number;
  /** Changes nothing; `freedBytes` is what runs free that no reader or writer is in the way of. */
  dryRun?: boolean;
  /** Forgets all unfinished packages that nobody works on, not only those a week old. */
  forgetUnfinished?: boolean;
  signal?: AbortSignal;
};

export type GcReport = {
  packages: number;
  /** Unfinished packages that were kept, and that were forgotten. */
  unfinished: number;
  forgotten: number;
  /** Bytes that the repository has less of now: objects deleted minus objects written. */
  freedBytes: number;
  deletedSegments: number;
  rewrittenSegments: number;
  copiedBytes: number;
  /** Marked segments that wait for older leases to end, and their bytes. */
  waitingSegments: number;
  waitingBytes: number;
  /** Leases that are waited for. */
  blockedBy: { id: string; kind: string; host: string; pid: number; startedAt: string }[];
  /** Segments that could not be rewritten, and why. */
  damaged: { segmentId: string; problem: string }[];
  /** Why nothing was rewritten although it was due. */
  rewriteProblem?: string;
};

/**
 * One run, under a lease of kind `gc`. GC_RUNNING or FORMAT_TOO_NEW (FAILED_PRECONDITION),
 * REPOSITORY_DAMAGED (DATA_LOSS): then nothing was deleted.
 */
export async function collectGarbage(
  context: StoreContext,
  lease: Lease,
  options: GcOptions,
): Promise<GcReport> {
  const { rewriteThreshold = rewriteThresholdDefault } = options;
  if (!(rewriteThreshold > 0 && rewriteThreshold <= 1)) {
    const text = `rewriteThreshold is ${rewriteThreshold}: must be more than 0 and at most 1`;
    throw invalidArgument('FIELD_VIOLATION', text, { field: 'rewriteThreshold' });
  }
  return await new Collection(context, lease, options).run(rewriteThreshold);
}

class Collection {
  private readonly context: StoreContext;
  private readonly backend: Backend;
  private readonly lease: Lease;
  private readonly signal: AbortSignal;
  private readonly isDryRun: boolean;
  private readonly forgetsAll: boolean;
  private readonly report: GcReport = {
    packages: 0,
    unfinished: 0,
    forgotten: 0,
    freedBytes: 0,
    deletedSegments: 0,
    rewrittenSegments: 0,
    copiedBytes: 0,
    waitingSegments: 0,
    waitingBytes: 0,
    blockedBy: [],
    damaged: [],
  };

  constructor(context: StoreContext, lease: Lease, options: GcOptions) {
    this.context = context;
    this.backend = context.backend;
    this.lease = lease;
    this.isDryRun = options.dryRun ?? false;
    this.forgetsAll = options.forgetUnfinished ?? false;
    const signals = options.signal ? [lease.signal, options.signal] : [lease.signal];
    this.signal = AbortSignal.any(signals);
  }

  async run(rewriteThreshold: number): Promise<GcReport> {
    refuseSecondCollection(this.lease.record, await this.otherLeases());
    if (this.isDryRun) return await this.estimate(rewriteThreshold);
    await this.forgetUnfinished();
    const garbage = await this.findGarbage(rewriteThreshold);
    if (garbage.length > 0) await this.quarantine(garbage);
    const ready = await this.readyMarkers();
    if (ready.length > 0) await this.sweep(ready);
    await this.removeStrayBlockers();
    return this.report;
  }

  private async estimate(rewriteThreshold: number): Promise<GcReport> {
    const forgotten = await this.forgettable();
    this.report.forgotten = forgotten.size;
    const marked = await mark(this.context, this.signal, undefined, forgotten);
    try {
      const { segmentBytesMax } = this.context;
      const unusable = await this.unusableSegments(marked);
      const limits = { rewriteThreshold, segmentBytesMax };
      const estimated = await estimateGarbage(this.backend, marked, unusable, limits);
      return { ...this.report, packages: marked.packages, ...estimated };
    } finally {
      await marked.catalog.close();
    }
  }

  private async forgetUnfinished(): Promise<void> {
    for (const key of await this.forgettable()) {
      if (await forgetCheckpoint(this.context, key)) this.report.forgotten += 1;
    }
  }

  // The keys of what nobody will go on with, and of what is damaged.
  private async forgettable(): Promise<Set<string>> {
    const keys = new Set<string>();
    for (const [key, checkpoint] of await readCheckpoints(this.backend)) {
      const isKept =
        checkpoint !== undefined &&
        !this.forgetsAll &&
        expiresMs(checkpoint) > this.context.clock.now().getTime() &&
        (await this.backend.size(manifestName(checkpoint.packageId))) === undefined;
      const isUsed = isKept || (await isClaimed(this.context, key, this.lease.id));
      if (isUsed) this.report.unfinished += 1;
      else keys.add(key);
    }
    return keys;
  }

  // Ids of segments that nothing needs, after live parts of others were copied out of them.
  private async findGarbage(rewriteThreshold: number): Promise<string[]> {
    const marked = await mark(this.context, this.signal);
    try {
      this.report.packages = marked.packages;
      const fresh = marked.uses.filter(({ segment }) => !segment.isQuarantined);
      const dead = fresh.filter(({ liveEntries }) => liveEntries === 0);
      const worn = fresh.filter((use) => use.liveEntries > 0 && wear(use) >= rewriteThreshold);
      const ids = new Set(worn.map(({ segment }) => segment.id));
      const rewritten = await this.rewrite(marked, ids);
      this.report.copiedBytes = rewritten.copiedBytes;
      this.report.rewrittenSegments = rewritten.replaced.length;
      this.report.damaged = rewritten.damaged.map(({ segmentId, error }) => {
        return { segmentId, problem: error.message };
      });
      this.report.freedBytes -= rewritten.writtenBytes;
      await failpoint('store.gc-after-rewrite');
      const unusable = await this.unusableSegments(marked);
      const all = [...dead.map(({ segment }) => segment.id), ...rewritten.replaced, ...unusable];
      return all.slice(0, markerSegmentsMax);
    } finally {
      await marked.catalog.close();
    }
  }

  // Copying needs space. Where there is none, first what is dead goes, and the next run copies.
  private async rewrite(marked: Marked, ids: ReadonlySet<string>): Promise<Rewritten> {
    try {
      return await rewriteSegments(this.context, this.lease, marked, ids);
    } catch (error) {
      if (!isRpcError(error, 'STORE_FULL')) throw error;
      await this.backend.releaseReserve();
      this.report.rewriteProblem = error.message;
      return { replaced: [], copiedBytes: 0, writtenBytes: 0, damaged: [] };
    }
  }

  // Without an index, or with a damaged one, nothing in a segment can be reached; and nothing
  // reachable was missing.
  private async unusableSegments(marked: Marked): Promise<string[]> {
    const segments = stems(await this.backend.list(segmentsPrefix), segmentsPrefix, '.segment');
    const indexes = stems(await this.backend.list(indexesPrefix), indexesPrefix, '.index');
    const indexed = new Set(indexes);
    const known = new Set((await readMarkers(this.backend)).flatMap((marker) => marker.segments));
    const damaged = marked.catalog.damaged.map(({ segmentId }) => segmentId);
    const orphans = segments.filter((id) => !indexed.has(id));
    return [...orphans, ...damaged].filter((id) => !known.has(id));
  }

  // The marker first: whoever takes a lease after it sees it, whoever took one before is a blocker.
  private async quarantine(segments: readonly string[]): Promise<void> {
    const run = this.context.random.uuid();
    await this.publish(markerName(run), formatFramed('marker', { segments }));
    await failpoint('store.gc-after-marker');
  }

  // Markers whose blockers have all ended. The others are counted.
  private async readyMarkers(): Promise<Marker[]> {
    const ready: Marker[] = [];
    const waiting = new Map<string, LeaseRecord>();
    for (const marker of await readMarkers(this.backend)) {
      const others = await this.otherLeases();
      let blockers = await readBlockers(this.backend, marker.run);
      if (blockers === undefined) {
        blockers = others.map(({ id }) => id);
        const body = formatFramed('blockers', { leases: blockers });
        await this.publish(blockersName(marker.run), body);
        await failpoint('store.gc-after-blockers');
      }
      const blocking = others.filter(({ id }) => blockers.includes(id));
      if (blocking.length === 0) ready.push(marker);
      else await this.countWaiting(marker);
      for (const other of blocking) waiting.set(other.id, other);
    }
    this.report.blockedBy = [...waiting.values()].map(({ id, kind, holder, startedAt }) => {
      return { id, kind, host: holder.host, pid: holder.pid, startedAt };
    });
    return ready;
  }

  private async countWaiting(marker: Marker): Promise<void> {
    this.report.waitingSegments += marker.segments.length;
    for (const id of marker.segments) {
      this.report.waitingBytes += (await this.backend.size(segmentName(id))) ?? 0;
    }
  }

  // Marks again from fresh lists, deletes what is still dead, then the markers, but for those of
  // damaged segments that something still needs.
  private async sweep(ready: readonly Marker[]): Promise<void> {
    const marked = await mark(this.context, this.signal);
    const uses = new Map(marked.uses.map((use) => [use.segment.id, use]));
    await marked.catalog.close();
    const candidates = new Set(ready.flatMap(({ segments }) => segments));
    const dead = [...candidates].filter((id) => (uses.get(id)?.liveEntries ?? 0) === 0);
    await failpoint('store.gc-before-delete');
    for (const id of dead) await this.delete(indexName(id));
    await this.backend.sync(indexesPrefix);
    await failpoint('store.gc-after-index-delete');
    for (const id of dead) {
      this.signal.throwIfAborted();
      if (await this.delete(segmentName(id))) this.report.deletedSegments += 1;
    }
    await this.backend.sync(segmentsPrefix);
    await failpoint('store.gc-after-segment-delete');
    const gone = new Set(dead);
    for (const { run, segments, isDamage } of ready) {
      if (isDamage && !segments.every((id) => gone.has(id))) continue;
      await this.backend.delete(markerName(run));
    }
    await this.backend.sync(quarantinePrefix);
    await failpoint('store.gc-after-marker-delete');
  }

  private async delete(name: string): Promise<boolean> {
    const sizeBytes = await this.backend.size(name);
    if (!(await this.backend.delete(name))) return false;
    this.report.freedBytes += sizeBytes ?? 0;
    return true;
  }

  private async removeStrayBlockers(): Promise<void> {
    const names = await this.backend.list(quarantinePrefix);
    const markers = new Set(stems(names, quarantinePrefix, '.marker'));
    for (const run of stems(names, quarantinePrefix, '.blockers')) {
      if (!markers.has(run)) await this.backend.delete(blockersName(run));
    }
  }

  private async publish(name: string, bytes: Uint8Array): Promise<void> {
    const staged = await this.lease.area.stage(`object-${this.context.random.uuid()}`);
    await staged.append([bytes]);
    await staged.finish();
    await this.lease.area.publish([{ staged, name }]);
  }

  private async otherLeases(): Promise<LeaseRecord[]> {
    const live = await sweepLeases(leaseContext(this.context));
    return live.filter(({ id }) => id !== this.lease.id);
  }
}

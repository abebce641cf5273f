/** Garbage collection beside running writers; docs/storage-format.md section 7. */
import { failedPrecondition, invalidArgument, isRpcError } from '../../../sdk/errors.ts';
import { failpoint } from '../../../sdk/failpoint.ts';
import type { Backend } from './backend.ts';
import { formatFramed } from './framed-text.ts';
import { type Marked, mark, type SegmentUse } from './gc-mark.ts';
import { type Rewritten, rewriteSegments } from './gc-rewrite.ts';
import { type Lease, type LeaseRecord, sweepLeases } from './lease.ts';
import { rewriteThresholdDefault } from './limits.ts';
import {
  blockersName,
  indexesPrefix,
  indexName,
  markerName,
  quarantinePrefix,
  segmentName,
  segmentsPrefix,
  stems,
} from './object-names.ts';
import { type Marker, readBlockers, readMarkers } from './quarantine.ts';
import { leaseContext, type StoreContext } from './store-context.ts';

/**
 * Segments that one run marks, so that a marker stays a small object; the next run takes the
 * others.
 */
const markerSegmentsMax = 10_000;

export type GcOptions = {
  /**
   * Share of a segment's bytes that must be garbage before it is rewritten: more than 0, up to 1;
   * default 0.5.
   */
  rewriteThreshold?: number;
  signal?: AbortSignal;
};

export type GcReport = {
  packages: number;
  /** Bytes that the repository has less of now: deleted minus copied. */
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
  private readonly report: GcReport = {
    packages: 0,
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
    const signals = options.signal ? [lease.signal, options.signal] : [lease.signal];
    this.signal = AbortSignal.any(signals);
  }

  async run(rewriteThreshold: number): Promise<GcReport> {
    this.refuseSecond(await this.otherLeases());
    const garbage = await this.findGarbage(rewriteThreshold);
    if (garbage.length > 0) await this.quarantine(garbage);
    const ready = await this.readyMarkers();
    if (ready.length > 0) await this.sweep(ready);
    await this.removeStrayBlockers();
    return this.report;
  }

  // Of two that begin at once the older one goes on; should both, they do no harm.
  private refuseSecond(others: readonly LeaseRecord[]): void {
    const { record } = this.lease;
    const other = others.find(({ kind, startedAt, id }) => {
      const isOlder =
        startedAt < record.startedAt || (startedAt === record.startedAt && id < record.id);
      return kind === 'gc' && isOlder;
    });
    if (other === undefined) return;
    const { host, pid } = other.holder;
    const text = `process ${pid} on ${host} collects garbage since ${other.startedAt}: wait for it`;
    throw failedPrecondition('GC_RUNNING', text, { host, pid: String(pid), leaseId: other.id });
  }

  // Ids of segments that nothing needs, after live parts of others were copied out of them.
  private async findGarbage(rewriteThreshold: number): Promise<string[]> {
    const marked = await mark(this.backend, this.signal);
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
      this.report.freedBytes -= rewritten.copiedBytes;
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
      return { replaced: [], copiedBytes: 0, damaged: [] };
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

  // Marks again from fresh lists, deletes what is still dead, then the markers.
  private async sweep(ready: readonly Marker[]): Promise<void> {
    const marked = await mark(this.backend, this.signal);
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
    for (const { run } of ready) await this.backend.delete(markerName(run));
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

// The share of a segment's bytes that nothing needs.
function wear({ segment, liveBytes }: SegmentUse): number {
  return 1 - liveBytes / segment.segmentBytes;
}

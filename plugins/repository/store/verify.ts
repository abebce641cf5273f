/** Checks everything that is stored; docs/storage-format.md section 6. */
import { isRpcError, RpcError } from '../../../sdk/errors.ts';
import { Bits } from './bits.ts';
import type { SegmentRef, Suspects } from './block-index.ts';
import { Catalog } from './catalog.ts';
import { checkConfiguration } from './configuration.ts';
import { bytesOfChunks } from './cut-source.ts';
import { EntryCheck } from './entry-check.ts';
import { objectDamaged, objectMissing } from './faults.ts';
import { inOrder } from './in-order.ts';
import {
  checkSegmentHeader,
  type Entry,
  entryBytes,
  readEntry,
  segmentHeaderBytes,
} from './index-codec.ts';
import { blockSize, damagesMax, runBlocksUsual, runsInFlightMax } from './limits.ts';
import type { Manifest } from './manifest.ts';
import { packagesPrefix, segmentName, segmentsPrefix, stems } from './object-names.ts';
import { readFully } from './piece-cache.ts';
import { readManifest } from './pinned-package.ts';
import type { StoreContext } from './store-context.ts';
import { type Place, walkPackage } from './tree-walk.ts';

export type VerifyOptions = {
  /** Only what this package reaches. */
  packageId?: string;
  /**
   * Part of the stored entries that is read back, more than 0 and up to 1, the default; the rest is
   * checked whole.
   */
  sample?: number;
  onProgress?(progress: { doneBytes: number; totalBytes: number }): void;
  signal?: AbortSignal;
};

/**
 * One fault. Bytes are counted in the object (`objectOffset`) and in the image (`offset`,
 * `length`).
 */
export type Damage = {
  path: string;
  objectOffset: number;
  problem: string;
  /** OBJECT_DAMAGED, OBJECT_MISSING or FORMAT_TOO_NEW. */
  reason: string;
  packageId?: string;
  image?: string;
  offset?: number;
  length?: number;
  file?: string;
};

export type VerifyReport = {
  isWhole: boolean;
  packages: number;
  segments: number;
  /** Entries and stored bytes that were read back and compared with their ids. */
  checkedEntries: number;
  checkedBytes: number;
  quarantinedSegments: number;
  /** Segments without an index: an unfinished publication or deletion, garbage and no fault. */
  segmentsWithoutIndex: number;
  damageCount: number;
  /** At most 1000 of them. */
  damages: Damage[];
};

/**
 * Runs under a lease of the caller. PACKAGE_UNKNOWN, FORMAT_TOO_NEW; damage is in the report, not
 * thrown. Segments in which something is wrong are added to `suspects`.
 */
export async function verify(
  context: StoreContext,
  options: VerifyOptions,
  suspects: Suspects = new Map(),
): Promise<VerifyReport> {
  const verification = new Verification(context, options, suspects);
  try {
    return await verification.run();
  } finally {
    await verification.catalog.close();
  }
}

class Verification {
  readonly catalog: Catalog;
  private readonly context: StoreContext;
  private readonly options: VerifyOptions;
  private readonly suspects: Suspects;
  private readonly damages: Damage[] = [];
  private damageCount = 0;
  private manifests: Manifest[] = [];
  private reached = new Bits(0);
  private readonly bad = new Map<number, RpcError>();
  private checkedEntries = 0;
  private checkedBytes = 0;

  constructor(context: StoreContext, options: VerifyOptions, suspects: Suspects) {
    this.context = context;
    this.options = options;
    this.suspects = suspects;
    // A catalog of its own: ordinals must keep their meaning during the whole run.
    this.catalog = new Catalog(context.backend, { ...context, checksAll: true });
  }

  async run(): Promise<VerifyReport> {
    const { backend } = this.context;
    await checkConfiguration(backend);
    await this.readManifests();
    await this.catalog.refresh();
    this.reportIndexes();
    this.reached = new Bits(this.catalog.index.entryCount);
    await this.walk();
    await this.checkEntries();
    if (this.bad.size > 0) await this.locateBad();
    const segmentNames = stems(await backend.list(segmentsPrefix), segmentsPrefix, '.segment');
    const { segments } = this.catalog.index;
    const known = new Set(segments.map(({ id }) => id));
    return {
      isWhole: this.damageCount === 0,
      packages: this.manifests.length,
      segments: segments.length,
      checkedEntries: this.checkedEntries,
      checkedBytes: this.checkedBytes,
      quarantinedSegments: segments.filter(({ isQuarantined }) => isQuarantined).length,
      segmentsWithoutIndex: segmentNames.filter((id) => !known.has(id)).length,
      damageCount: this.damageCount,
      damages: this.damages,
    };
  }

  private async readManifests(): Promise<void> {
    const { backend } = this.context;
    const { packageId } = this.options;
    const listed = packageId === undefined ? await backend.list(packagesPrefix) : [];
    const ids = packageId === undefined ? stems(listed, packagesPrefix, '.manifest') : [packageId];
    for (const id of ids) {
      try {
        this.manifests.push((await readManifest(backend, id)).manifest);
      } catch (error) {
        const isDeleted = isRpcError(error, 'PACKAGE_UNKNOWN') && packageId === undefined;
        if (!isDeleted) this.report(error, { packageId: id });
      }
    }
  }

  // What one package needs of a damaged index shows as missing entries.
  private reportIndexes(): void {
    if (this.options.packageId !== undefined) return;
    for (const { segmentId, error } of this.catalog.damaged) {
      this.suspects.set(segmentId, new Bits(0));
      this.report(error, {});
    }
  }

  private async walk(): Promise<void> {
    const whole = new Bits(this.catalog.index.entryCount);
    for (const manifest of this.manifests) {
      await walkPackage(this.catalog, manifest, {
        // A page with a fault under it is gone through again for each package, which then is named
        // too.
        enterPage: (ordinal) => {
          this.reached.add(ordinal);
          return !whole.has(ordinal);
        },
        leavePage: (ordinal) => whole.add(ordinal),
        reach: (ordinal) => this.reached.add(ordinal),
        fault: (error, place) => this.report(error, placeOf(place)),
      });
      this.options.signal?.throwIfAborted();
    }
  }

  // The workers check several runs at a time; what they find is noted in the order of the segments.
  private async checkEntries(): Promise<void> {
    const { segments } = this.catalog.index;
    const totalBytes = segments.reduce((sum, { segmentBytes }) => sum + segmentBytes, 0);
    const check = {
      start: (run: EntryRun) => this.checkRun(run),
      finish: async (run: EntryRun, checked: CheckedEntry[]) => {
        this.note(run, checked);
        this.options.onProgress?.({ doneBytes: run.doneBytes, totalBytes });
      },
      discard: () => undefined,
    };
    await inOrder(this.runs(), runsInFlightMax, check, this.options.signal);
    this.options.onProgress?.({ doneBytes: totalBytes, totalBytes });
  }

  private async *runs(): AsyncGenerator<EntryRun> {
    let before = 0;
    for await (const { segment, base, entries } of this.catalog.index.contents()) {
      const { entryCount, segmentBytes } = segment;
      const wanted: OrdinalEntry[] = [];
      let isFirst = true;
      for (let index = 0; index < entryCount; index++) {
        const ordinal = base + index;
        if (this.isWanted(segment, ordinal)) {
          wanted.push({ ordinal, entry: readEntry(entries, index * entryBytes) });
        }
        const isLast = index === entryCount - 1;
        if (wanted.length < runBlocksUsual && !(isLast && wanted.length > 0)) continue;
        if (isFirst) await this.checkHeader(segment);
        isFirst = false;
        const doneBytes = before + Math.floor((segmentBytes * (index + 1)) / entryCount);
        yield { segment, base, entries: wanted.splice(0), doneBytes };
      }
      before += segmentBytes;
    }
  }

  // Everything, or what the package reaches. A quarantined segment may go at any time, but for what
  // is reached.
  private isWanted(segment: SegmentRef, ordinal: number): boolean {
    const { packageId, sample = 1 } = this.options;
    const onlyReached = packageId !== undefined || segment.isQuarantined;
    if (onlyReached && !this.reached.has(ordinal)) return false;
    return sample === 1 || this.context.random.fraction() < sample;
  }

  // A segment that is missing is told by each of its entries.
  private async checkHeader(segment: SegmentRef): Promise<void> {
    const { backend } = this.context;
    if ((await backend.size(segmentName(segment.id))) === undefined) return;
    const path = backend.path(segmentName(segment.id));
    const held = await this.catalog.files.hold(segment.id);
    try {
      const header = new Uint8Array(segmentHeaderBytes);
      await readFully(held.fd, header, 0, path);
      checkSegmentHeader(header, segment.nonce, path);
      if (held.sizeBytes > segment.segmentBytes) {
        throw objectDamaged(path, segment.segmentBytes, 'has bytes behind its last entry');
      }
    } catch (error) {
      this.report(error, {});
      this.suspect(segment);
    } finally {
      held.release();
    }
  }

  // A difference that nothing reaches is garbage and may outlive its base. Of one that is reached
  // the walk found the base.
  private async decodable(run: OrdinalEntry[]): Promise<OrdinalEntry[]> {
    const { index } = this.catalog;
    const left: OrdinalEntry[] = [];
    for (const item of run) {
      const base = item.entry.base && (await index.findFull(item.entry.base));
      const mayBeGone = base !== undefined && (base === -1 || index.segmentOf(base).isQuarantined);
      if (!mayBeGone || this.reached.has(item.ordinal)) left.push(item);
    }
    return left;
  }

  private async checkRun({ segment, entries }: EntryRun): Promise<CheckedEntry[]> {
    const { backend, pool } = this.context;
    if ((await backend.size(segmentName(segment.id))) === undefined) {
      const fault = objectMissing(backend.path(segmentName(segment.id)));
      return entries.map((item) => ({ ...item, isRead: false, fault }));
    }
    const held = await this.catalog.files.hold(segment.id);
    try {
      const run = await this.decodable(entries);
      const check = new EntryCheck(this.catalog, pool, segment, held.fd);
      const faults = await check.check(run.map(({ entry }) => entry));
      return run.map((item, index) => ({ ...item, isRead: true, fault: faults[index] }));
    } finally {
      held.release();
    }
  }

  private note({ segment, base }: EntryRun, checked: readonly CheckedEntry[]): void {
    for (const { ordinal, entry, isRead, fault } of checked) {
      if (isRead) this.checkedEntries += 1;
      if (isRead) this.checkedBytes += entry.storedLength;
      if (fault === undefined) continue;
      this.bad.set(ordinal, fault);
      this.suspect(segment).add(ordinal - base);
    }
  }

  private suspect({ id, entryCount }: SegmentRef): Bits {
    const bits = this.suspects.get(id) ?? new Bits(entryCount);
    this.suspects.set(id, bits);
    return bits;
  }

  // Goes through all packages once more, now knowing which entries are bad.
  private async locateBad(): Promise<void> {
    const located = new Set<number>();
    const report = (ordinal: number, place: Place) => {
      const fault = this.bad.get(ordinal);
      if (fault === undefined) return;
      located.add(ordinal);
      this.report(fault, placeOf(place));
    };
    for (const manifest of this.manifests) {
      await walkPackage(this.catalog, manifest, {
        enterPage: (ordinal) => {
          // The walk before reported it with its place.
          if (this.bad.has(ordinal)) located.add(ordinal);
          return true;
        },
        leavePage: () => undefined,
        reach: report,
        fault: () => undefined,
      });
    }
    for (const [ordinal, fault] of this.bad) if (!located.has(ordinal)) this.report(fault, {});
  }

  private report(error: unknown, place: Partial<Damage>): void {
    const known = RpcError.from(error);
    if (!['OBJECT_DAMAGED', 'OBJECT_MISSING', 'FORMAT_TOO_NEW'].includes(known.reason)) throw error;
    this.damageCount += 1;
    if (this.damages.length >= damagesMax) return;
    this.damages.push({
      path: known.metadata.path ?? '',
      objectOffset: Number(known.metadata.offset ?? 0),
      problem: known.metadata.problem ?? known.message,
      reason: known.reason,
      ...place,
    });
  }
}

type OrdinalEntry = { ordinal: number; entry: Entry };

/** At most 64 entries of one segment; `doneBytes` of all segments are done with them. */
type EntryRun = {
  segment: SegmentRef;
  /** The first ordinal of the segment. */
  base: number;
  entries: OrdinalEntry[];
  doneBytes: number;
};

type CheckedEntry = OrdinalEntry & { isRead: boolean; fault: RpcError | undefined };

/** A place as a damage tells it. */
export function placeOf(place: Place): Partial<Damage> {
  if ('file' in place) return { packageId: place.packageId, file: place.file };
  const { packageId, image, first, count, isCut } = place;
  if (isCut) return { packageId, image, ...bytesOfChunks(first, count) };
  return { packageId, image, offset: first * blockSize, length: count * blockSize };
}

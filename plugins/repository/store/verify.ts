/** Checks everything that is stored; docs/storage-format.md section 6. */
import { isRpcError, RpcError } from '../../../sdk/errors.ts';
import { Bits } from './bits.ts';
import type { SegmentRef } from './block-index.ts';
import { Catalog } from './catalog.ts';
import { checkConfiguration } from './configuration.ts';
import { EntryCheck } from './entry-check.ts';
import { objectDamaged, objectMissing } from './faults.ts';
import {
  checkSegmentHeader,
  type Entry,
  entryBytes,
  readEntry,
  segmentHeaderBytes,
} from './index-codec.ts';
import { blockSize, damagesMax, runBlocksMax } from './limits.ts';
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
 * thrown.
 */
export async function verify(context: StoreContext, options: VerifyOptions): Promise<VerifyReport> {
  const verification = new Verification(context, options);
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
  private readonly damages: Damage[] = [];
  private damageCount = 0;
  private manifests: Manifest[] = [];
  private reached = new Bits(0);
  private readonly bad = new Map<number, RpcError>();
  private checkedEntries = 0;
  private checkedBytes = 0;

  constructor(context: StoreContext, options: VerifyOptions) {
    this.context = context;
    this.options = options;
    // A catalog of its own: ordinals must keep their meaning during the whole run.
    this.catalog = new Catalog(context.backend);
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
    for (const { error } of this.catalog.damaged) this.report(error, {});
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

  private async checkEntries(): Promise<void> {
    const { segments } = this.catalog.index;
    const totalBytes = segments.reduce((sum, { segmentBytes }) => sum + segmentBytes, 0);
    let doneBytes = 0;
    for await (const { segment, base, entries } of this.catalog.index.contents()) {
      const wanted = this.wantedEntries(segment, base, entries);
      if (wanted.length > 0) await this.checkSegment(segment, wanted);
      doneBytes += segment.segmentBytes;
      this.options.onProgress?.({ doneBytes, totalBytes });
    }
  }

  // Everything, or what the package reaches. A quarantined segment may go at any time, but for what
  // is reached.
  private wantedEntries(segment: SegmentRef, base: number, entries: Buffer): OrdinalEntry[] {
    const { packageId, sample = 1 } = this.options;
    const onlyReached = packageId !== undefined || segment.isQuarantined;
    const wanted: OrdinalEntry[] = [];
    for (let index = 0; index < segment.entryCount; index++) {
      const ordinal = base + index;
      if (onlyReached && !this.reached.has(ordinal)) continue;
      if (sample < 1 && this.context.random.fraction() >= sample) continue;
      wanted.push({ ordinal, entry: readEntry(entries, index * entryBytes) });
    }
    return wanted;
  }

  private async checkSegment(segment: SegmentRef, wanted: OrdinalEntry[]): Promise<void> {
    const { backend, pool } = this.context;
    const path = backend.path(segmentName(segment.id));
    const sizeBytes = await backend.size(segmentName(segment.id));
    if (sizeBytes === undefined) {
      for (const { ordinal } of wanted) this.bad.set(ordinal, objectMissing(path));
      return;
    }
    const held = await this.catalog.files.hold(segment.id);
    try {
      await this.checkHeader(segment, held, path);
      const check = new EntryCheck(this.catalog, pool, segment, held.fd);
      for (let start = 0; start < wanted.length; start += runBlocksMax) {
        this.options.signal?.throwIfAborted();
        await this.checkRun(check, wanted.slice(start, start + runBlocksMax));
      }
    } finally {
      held.release();
    }
  }

  private async checkHeader(
    segment: SegmentRef,
    held: { fd: number; sizeBytes: number },
    path: string,
  ): Promise<void> {
    try {
      const header = new Uint8Array(segmentHeaderBytes);
      await readFully(held.fd, header, 0, path);
      checkSegmentHeader(header, segment.nonce, path);
      if (held.sizeBytes > segment.segmentBytes) {
        throw objectDamaged(path, segment.segmentBytes, 'has bytes behind its last entry');
      }
    } catch (error) {
      this.report(error, {});
    }
  }

  private async checkRun(check: EntryCheck, run: OrdinalEntry[]): Promise<void> {
    const faults = await check.check(run.map(({ entry }) => entry));
    for (const [index, { ordinal, entry }] of run.entries()) {
      this.checkedEntries += 1;
      this.checkedBytes += entry.storedLength;
      const fault = faults[index];
      if (fault !== undefined) this.bad.set(ordinal, fault);
    }
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

function placeOf(place: Place): Partial<Damage> {
  if ('file' in place) return { packageId: place.packageId, file: place.file };
  return {
    packageId: place.packageId,
    image: place.image,
    offset: place.first * blockSize,
    length: place.count * blockSize,
  };
}

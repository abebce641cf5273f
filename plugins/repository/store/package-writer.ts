/** One run that writes: its lease, its segments and the order in which they are published. */
import { alreadyExists, invalidArgument, isRpcError } from '../../../sdk/errors.ts';
import { failpoint } from '../../../sdk/failpoint.ts';
import type { Random } from '../../../sdk/ports/random.ts';
import { hash } from '../../../wasm/host/blake3.ts';
import type { EncodedRun } from '../../../wasm/host/core-pool.ts';
import { kindDelta, kindLz4, kindRaw, kindZstd } from '../../../wasm/host/layout.ts';
import type { Backend } from './backend.ts';
import type { Catalog } from './catalog.ts';
import { formatId, idAt } from './ids.ts';
import { content, type EntryKind, encoding, entryKind } from './index-codec.ts';
import type { Lease } from './lease.ts';
import { blockSize, framedTextBytesMax } from './limits.ts';
import { type FileRecord, isSameContent, type Manifest } from './manifest.ts';
import { formatManifest, parseManifest } from './manifest-codec.ts';
import { manifestProblem } from './manifest-rules.ts';
import { manifestName } from './object-names.ts';
import { publishSegments, type SealedSegment, SegmentStream } from './segment-stream.ts';
import type { PageSink } from './tree-writer.ts';

/** What a run has stored so far, in bytes and counts. */
export type Stored = { blocks: number; deltaBlocks: number; pages: number; bytes: number };

const encodingOf: Record<number, number> = {
  [kindRaw]: encoding.raw,
  [kindLz4]: encoding.lz4,
  [kindZstd]: encoding.zstd,
  [kindDelta]: encoding.delta,
};

/** A file to be stored in a package; `bytes` belong to the caller. */
export type NewFile = { name: string; mediaType?: string; bytes: Uint8Array };

/** OPEN → PUBLISHED. Not to be used by two callers at once. */
export class PackageWriter implements PageSink {
  readonly stored: Stored = { blocks: 0, deltaBlocks: 0, pages: 0, bytes: 0 };
  private readonly backend: Backend;
  private readonly catalog: Catalog;
  private readonly lease: Lease;
  private readonly blocks: SegmentStream;
  private readonly pages: SegmentStream;
  private readonly published = new Set<string>();

  /** The catalog was refreshed after the lease was taken. `segmentBytesMax` is for tests. */
  constructor(catalog: Catalog, lease: Lease, random: Random, segmentBytesMax?: number) {
    this.backend = catalog.backend;
    this.catalog = catalog;
    this.lease = lease;
    this.blocks = new SegmentStream(lease.area, content.blocks, random, segmentBytesMax);
    this.pages = new SegmentStream(lease.area, content.pages, random, segmentBytesMax);
  }

  /**
   * Stores those new blocks of a run that nobody has stored. `bases`: the base of each difference,
   * by its number in the run. The run's bytes are free when it returns.
   */
  async putRun(run: EncodedRun, bases?: ReadonlyMap<number, Uint8Array>): Promise<void> {
    const count = run.kinds.length;
    const isNew = (index: number) => encodingOf[run.kinds[index]!] !== undefined;
    if (!run.kinds.some((_, index) => isNew(index))) return;
    const shared = await this.catalog.mayShare(entryKind.block, run.ids, count);
    for (let index = 0; index < count; index++) {
      if (!isNew(index) || shared[index]) continue;
      const id = idAt(run.ids, index);
      if (await this.blocks.has(entryKind.block, id)) continue;
      const offset = run.offsets[index]!;
      const storedLength = run.lengths[index]!;
      const encoded = encodingOf[run.kinds[index]!]!;
      const base = encoded === encoding.delta ? { base: bases!.get(index)! } : {};
      const bytes = run.data.subarray(offset, offset + storedLength);
      const lengths = { storedLength, plainLength: blockSize };
      const entry = { id, ...lengths, kind: entryKind.block, encoding: encoded, ...base };
      await this.blocks.put(entry, bytes);
      this.stored.blocks += 1;
      if (encoded === encoding.delta) this.stored.deltaBlocks += 1;
      this.stored.bytes += storedLength;
    }
    await this.blocks.flush();
  }

  async putPage(id: Uint8Array, bytes: Uint8Array): Promise<void> {
    if (!(await this.putRecord(entryKind.page, id, bytes))) return;
    this.stored.pages += 1;
    this.stored.bytes += bytes.length;
  }

  /** Stores a small file and returns its record. */
  async putFile({ name, mediaType = '', bytes }: NewFile): Promise<FileRecord> {
    const id = hash(bytes);
    if (bytes.length > 0) await this.putRecord(entryKind.file, id, new Uint8Array(bytes));
    return { name, mediaType, sizeBytes: bytes.length, id: formatId(id) };
  }

  /** Closes the segments in progress: `publishSealed` then covers everything put so far. */
  async seal(): Promise<void> {
    await this.blocks.close();
    await this.pages.close();
  }

  /**
   * Gives what is sealed its names, so that a later run can use it. May run beside `put…`, not
   * beside `publish`.
   */
  async publishSealed(): Promise<void> {
    await this.publishNew([...(await this.blocks.durable()), ...(await this.pages.durable())]);
  }

  private async publishNew(sealed: readonly SealedSegment[]): Promise<void> {
    const fresh = sealed.filter(({ id }) => !this.published.has(id));
    await publishSegments(this.lease.area, fresh);
    for (const { id } of fresh) this.published.add(id);
  }

  /**
   * Publishes everything. Returns the manifest that now stands under the id: this one, or an equal
   * one that was there before. PACKAGE_EXISTS (ALREADY_EXISTS) when another content has the id,
   * LEASE_LOST (ABORTED).
   */
  async publish(manifest: Manifest): Promise<{ manifest: Manifest; isNew: boolean }> {
    const problem = manifestProblem(manifest);
    if (problem !== undefined) {
      throw invalidArgument('FIELD_VIOLATION', `package: ${problem}`, { field: 'package' });
    }
    await failpoint('store.after-blocks');
    const sealed = [...(await this.blocks.finish()), ...(await this.pages.finish())];
    await failpoint('store.after-segments');
    const existing = await this.existing(manifest);
    if (existing !== undefined) return { manifest: existing, isNew: false };
    const staged = await this.lease.area.stage('manifest');
    await staged.append([formatManifest(manifest)]);
    await staged.finish();
    await failpoint('store.after-manifest-staged');
    await this.publishNew(sealed);
    try {
      await this.lease.area.publish([{ staged, name: manifestName(manifest.id) }]);
    } catch (error) {
      if (!isRpcError(error, 'OBJECT_EXISTS')) throw error;
      const other = await this.existing(manifest);
      if (other === undefined) throw error;
      return { manifest: other, isNew: false };
    }
    await failpoint('store.after-publish');
    return { manifest, isNew: true };
  }

  private async existing(manifest: Manifest): Promise<Manifest | undefined> {
    const name = manifestName(manifest.id);
    const bytes = await this.backend.readAll(name, framedTextBytesMax);
    if (bytes === undefined) return undefined;
    const other = parseManifest(bytes, manifest.id, this.backend.path(name));
    if (isSameContent(other, manifest)) return other;
    const text = `package "${manifest.id}" has another content: use another id or delete it first`;
    throw alreadyExists('PACKAGE_EXISTS', text, { packageId: manifest.id });
  }

  // True when the bytes were not stored before. They must not change afterwards.
  private async putRecord(kind: EntryKind, id: Uint8Array, bytes: Uint8Array): Promise<boolean> {
    if (await this.pages.has(kind, id)) return false;
    if ((await this.catalog.mayShare(kind, id, 1))[0]) return false;
    const lengths = { storedLength: bytes.length, plainLength: bytes.length };
    await this.pages.put({ id, ...lengths, kind, encoding: encoding.raw }, bytes);
    return true;
  }
}

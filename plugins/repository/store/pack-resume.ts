/** Going on with a package that an earlier run began; docs/storage-format.md 2.8 and 10. */
import { Code, isRpcError, RpcError } from '../../../sdk/errors.ts';
import { failpoint } from '../../../sdk/failpoint.ts';
import type { BlockSource } from '../sources/source.ts';
import {
  type Checkpoint,
  type CheckpointImage,
  doneBytesOf,
  formatCheckpoint,
  readCheckpoint,
  readCheckpoints,
} from './checkpoint.ts';
import { type Lease, sweepLeases } from './lease.ts';
import type { ImageRecord } from './manifest.ts';
import { checkpointName, resumePrefix } from './object-names.ts';
import type { ImageState } from './pack-image.ts';
import type { PackageWriter } from './package-writer.ts';
import { missingProblem, resumeProblem } from './resume-check.ts';
import { leaseContext, type StoreContext } from './store-context.ts';

/** What a run is, for finding and comparing the checkpoint of an earlier one. */
export type Identity = { key: string; request: string };

/** True when a live lease works on that key, besides `own`. Takes dead leases away. */
export async function isClaimed(context: StoreContext, key: string, own: string): Promise<boolean> {
  for (const { id } of await sweepLeases(leaseContext(context))) {
    if (id === own) continue;
    const names = await context.backend.list(`tmp/${id}/`);
    if (names.includes(`tmp/${id}/claim-${key}`)) return true;
  }
  return false;
}

/** Removes the checkpoint under a key; false when there was none. */
export async function forgetCheckpoint({ backend }: StoreContext, key: string): Promise<boolean> {
  const wasThere = await backend.delete(checkpointName(key));
  if (wasThere) await backend.sync(resumePrefix);
  return wasThere;
}

/** Removes the checkpoints of a package, under whatever key; false when there was none. */
export async function forgetPackage(context: StoreContext, packageId: string): Promise<boolean> {
  let wasThere = false;
  for (const [key, checkpoint] of await readCheckpoints(context.backend)) {
    if (checkpoint?.packageId !== packageId) continue;
    wasThere = (await forgetCheckpoint(context, key)) || wasThere;
  }
  return wasThere;
}

/** One run's hold on a checkpoint. Not to be used by two callers at once. */
export class PackResume {
  /** The id that the package was going to have. */
  readonly packageId: string | undefined;
  /** Why something begun was not taken up, for people. */
  reason: string | undefined;
  /** Bytes of images that were taken up. */
  resumedBytes = 0;
  private readonly context: StoreContext;
  private readonly lease: Lease;
  private readonly identity: Identity;
  private readonly startedAt: string;
  private readonly found: ReadonlyMap<string, CheckpointImage>;
  /** What the next checkpoint says, by name. */
  private readonly images: Map<string, CheckpointImage>;
  private current: (() => CheckpointImage | undefined) | undefined;
  private saving: Promise<void> | undefined;
  private failure: unknown;
  private savedMs: number;
  private unsavedBytes = 0;
  private number = 0;
  private run: { writer: PackageWriter; packageId: string } | undefined;

  private constructor(
    context: StoreContext,
    lease: Lease,
    identity: Identity,
    found: Checkpoint | undefined,
  ) {
    this.context = context;
    this.lease = lease;
    this.identity = identity;
    const isSame = found?.request === identity.request;
    if (found !== undefined && !isSame) this.reason = 'what was asked for is something else';
    this.packageId = isSame ? found.packageId : undefined;
    this.found = new Map((isSame ? found.images : []).map((image) => [image.name, image]));
    this.images = new Map(this.found);
    this.startedAt = isSame ? found.startedAt : context.clock.now().toISOString();
    this.savedMs = context.clock.monotonicMs();
  }

  /**
   * Claims the key and reads its checkpoint; undefined while somebody else works on it. The catalog
   * must be refreshed afterwards. FORMAT_TOO_NEW (FAILED_PRECONDITION).
   */
  static async open(
    context: StoreContext,
    lease: Lease,
    identity: Identity,
  ): Promise<PackResume | undefined> {
    const claim = `claim-${identity.key}`;
    await lease.area.replace(claim, new Uint8Array(0));
    if (await isClaimed(context, identity.key, lease.id)) {
      await lease.area.remove(claim);
      return undefined;
    }
    let found: Checkpoint | undefined;
    let reason: string | undefined;
    try {
      found = await readCheckpoint(context.backend, identity.key);
    } catch (error) {
      if (!isRpcError(error, 'OBJECT_DAMAGED')) throw error;
      reason = error.message;
    }
    const resume = new PackResume(context, lease, identity, found);
    resume.reason ??= reason;
    return resume;
  }

  /** The run begins: what it stores goes through this writer, into a package of this id. */
  start(writer: PackageWriter, packageId: string): void {
    this.run = { writer, packageId };
  }

  /** What was done of an image, if it can be gone on with; else it starts anew. */
  async restore(
    name: string,
    source: BlockSource,
    fingerprint: string | undefined,
  ): Promise<CheckpointImage | undefined> {
    const image = this.found.get(name);
    if (image === undefined) return undefined;
    const problem = await resumeProblem(this.context, image, source, fingerprint);
    if (problem === undefined) return image;
    this.startAnew(name, problem);
    return undefined;
  }

  startAnew(name: string, problem: string): void {
    this.images.delete(name);
    this.reason ??= `image "${name}": ${problem}`;
  }

  /** An image that was done and whose source need not be looked at. */
  async takeDone(name: string, fingerprint: string): Promise<CheckpointImage | undefined> {
    const image = this.found.get(name);
    if (image?.root === undefined || image.fingerprint !== fingerprint) return undefined;
    if ((await missingProblem(this.context, image)) !== undefined) return undefined;
    this.resumedBytes += doneBytesOf(image);
    return image;
  }

  /** From now on `state` says how far the image is. Without a fingerprint nothing is kept of it. */
  begin(
    image: Pick<CheckpointImage, 'name' | 'logicalBytes' | 'chunking' | 'map'>,
    fingerprint: string | undefined,
    restored: CheckpointImage | undefined,
  ): ((bytes: number, state: () => ImageState | undefined) => Promise<void>) | undefined {
    if (restored !== undefined) this.resumedBytes += doneBytesOf(restored);
    this.current = undefined;
    if (fingerprint === undefined) return undefined;
    let before = 0;
    return async (bytes, state) => {
      this.unsavedBytes += bytes - before;
      before = bytes;
      this.current = () => {
        const now = state();
        return now && { ...image, fingerprint, ...now };
      };
      await this.saveWhenDue();
    };
  }

  /** The image is done. */
  finish(record: ImageRecord, fingerprint: string | undefined): void {
    this.current = undefined;
    if (fingerprint === undefined) return;
    const { name, logicalBytes, chunking, map, written, root, blockCount } = record;
    const sizes = { logicalBytes, doneBlocks: blockCount, ...(chunking && { chunking }) };
    this.images.set(name, { name, fingerprint, map, written, root, open: [], ...sizes });
  }

  /** Waits for the checkpoint that is being written. */
  async settle(): Promise<void> {
    await this.saving;
    if (this.failure !== undefined) throw this.failure;
  }

  /** The package exists: nothing is unfinished any more. */
  async end(): Promise<void> {
    await forgetCheckpoint(this.context, this.identity.key);
  }

  /**
   * The run failed with `error`. Keeps what a repetition can go on from. What fails here is left
   * aside: the first error is the one to report.
   */
  async fail(error: unknown): Promise<void> {
    await this.saving;
    if (isPointless(error)) return void (await this.end().catch(() => undefined));
    const isWorthwhile = this.unsavedBytes >= this.context.checkpointBytesMin;
    if (this.failure !== undefined || !isWorthwhile) return;
    await this.saveNow().catch(() => undefined);
  }

  private async saveWhenDue(): Promise<void> {
    if (this.failure !== undefined) throw this.failure;
    const { clock, checkpointBytesMin, checkpointMsMin } = this.context;
    if (this.saving !== undefined || this.unsavedBytes < checkpointBytesMin) return;
    if (clock.monotonicMs() - this.savedMs < checkpointMsMin) return;
    await this.saveBeside();
  }

  // Closing the segments takes no time; making them durable and giving them names goes on beside
  // the work.
  private async saveBeside(): Promise<void> {
    const publish = await this.prepare();
    this.saving = publish()
      .catch((error) => {
        this.failure = error;
      })
      .finally(() => {
        this.saving = undefined;
      });
  }

  private async saveNow(): Promise<void> {
    await (await this.prepare())();
  }

  private async prepare(): Promise<() => Promise<void>> {
    const current = this.current?.();
    if (current !== undefined) this.images.set(current.name, current);
    const { writer, packageId } = this.run!;
    await writer.seal();
    const bytes = formatCheckpoint({
      packageId,
      request: this.identity.request,
      startedAt: this.startedAt,
      updatedAt: this.context.clock.now().toISOString(),
      images: [...this.images.values()],
    });
    this.savedMs = this.context.clock.monotonicMs();
    this.unsavedBytes = 0;
    return async () => {
      await writer.publishSealed();
      await failpoint('store.checkpoint-before-put');
      const staged = await this.lease.area.stage(`checkpoint-${this.number++}`);
      await staged.append([bytes]);
      await staged.finish();
      const name = checkpointName(this.identity.key);
      await this.lease.area.replaceObject({ staged, name });
      await failpoint('store.checkpoint-after-put');
    };
  }
}

// The input is wrong, or the package exists with another content: a repetition fails as well.
function isPointless(error: unknown): boolean {
  const codes = [Code.INVALID_ARGUMENT, Code.ALREADY_EXISTS, Code.DATA_LOSS, Code.OUT_OF_RANGE];
  return error instanceof RpcError && codes.includes(error.code);
}

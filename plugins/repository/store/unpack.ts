/** Writes an image of a package to a target; every block is checked against its id on the way. */
import { createHash } from 'node:crypto';
import { createHasher } from '../../../wasm/host/blake3.ts';
import type { DecodedRun } from '../../../wasm/host/core-pool.ts';
import { giveUp } from '../targets/give-up.ts';
import type { BlockTarget } from '../targets/target.ts';
import type { ImageReader, StoredRun } from './image-reader.ts';
import { inOrder, Turns } from './in-order.ts';
import { blockSize, runBlocksMax, runsInFlightMax } from './limits.ts';
import type { IdSpan } from './tree-reader.ts';
import { countKept } from './unpack-kept.ts';

export type DigestKind = 'sha256' | 'blake3';

export type UnpackOptions = {
  /** Digests of the whole plain image to compute; they make the run sequential in part. */
  digests?: readonly DigestKind[];
  onProgress?(progress: { image: string; doneBytes: number; totalBytes: number }): void;
  /** When interrupted, keep what was written for a repetition to go on with. Default false. */
  keepPartial?: boolean;
  signal?: AbortSignal;
};

export type UnpackResult = {
  name: string;
  logicalBytes: number;
  /** Bytes that were decoded, without holes. */
  writtenBytes: number;
  /** Bytes from the start of the image that an interrupted run had written. */
  resumedBytes: number;
  /** In hexadecimal, for each kind asked for. */
  digests: Partial<Record<DigestKind, string>>;
};

/**
 * Unpacks one image and finishes the target; aborts the target when anything fails. PACKAGE_DAMAGED
 * (DATA_LOSS) names package, image and offset.
 */
export async function unpackImage(
  image: ImageReader,
  target: BlockTarget,
  options: UnpackOptions = {},
): Promise<UnpackResult> {
  try {
    const result = await new ImageUnpack(image, target, options).run();
    await target.finish();
    return result;
  } catch (error) {
    await giveUp(target, error, options.keepPartial);
    throw error;
  }
}

type Unpacked = { run: StoredRun; decoded: DecodedRun | undefined };

class ImageUnpack {
  private readonly image: ImageReader;
  private readonly target: BlockTarget;
  private readonly options: UnpackOptions;
  private readonly digests: Digests;
  private readonly turns = new Turns();
  private readonly targetFd: number | undefined;
  private doneBytes = 0;
  private writtenBytes = 0;

  constructor(image: ImageReader, target: BlockTarget, options: UnpackOptions) {
    this.image = image;
    this.target = target;
    this.options = options;
    this.digests = new Digests(options.digests ?? []);
    // Whoever wants digests needs the bytes here; else workers write the file by themselves.
    this.targetFd = this.digests.isEmpty ? target.fd : undefined;
  }

  async run(): Promise<UnpackResult> {
    if (this.image.isCut) return await this.runContent();
    const { name, logicalBytes } = this.image.record;
    const first = await this.skipKept();
    const resumedBytes = Math.min(first * blockSize, logicalBytes);
    this.doneBytes = resumedBytes;
    await inOrder(
      this.image.cutSpans(first),
      runsInFlightMax,
      {
        start: (span) => this.start(span),
        finish: (span, unpacked) => this.finish(span, unpacked),
        discard: ({ decoded }) => decoded?.release(),
      },
      this.options.signal,
    );
    const digests = this.digests.finish();
    return { name, logicalBytes, writtenBytes: this.writtenBytes, resumedBytes, digests };
  }

  // Its chunks lie anywhere, so the bytes come through here; what an earlier process left is not used.
  private async runContent(): Promise<UnpackResult> {
    const { name, logicalBytes } = this.image.record;
    await this.target.kept?.endAt(0);
    for await (const { offset, length, bytes } of this.image.runs()) {
      this.options.signal?.throwIfAborted();
      if (bytes === undefined) this.digests.addZeros(length);
      else {
        this.digests.add(bytes);
        await this.target.write(offset, bytes);
        this.writtenBytes += length;
      }
      const doneBytes = offset + length;
      this.options.onProgress?.({ image: name, doneBytes, totalBytes: logicalBytes });
    }
    const digests = this.digests.finish();
    return { name, logicalBytes, writtenBytes: this.writtenBytes, resumedBytes: 0, digests };
  }

  // The first block that is to be written. Digests are of all bytes, so with them all are written.
  private async skipKept(): Promise<number> {
    const { kept } = this.target;
    if (kept === undefined) return 0;
    if (this.digests.isEmpty) return await countKept(this.image, kept, this.options.signal);
    await kept.endAt(0);
    return 0;
  }

  private async start(span: IdSpan): Promise<Unpacked> {
    return await this.turns.take(
      () => this.image.openRun(span),
      async (run) => {
        const { targetFd } = this;
        const decoding = this.image.decode(run, targetFd === undefined ? {} : { targetFd });
        return { run, decoded: await decoding.finally(run.release) };
      },
    );
  }

  private async finish(span: IdSpan, { run, decoded }: Unpacked): Promise<void> {
    const { name, logicalBytes } = this.image.record;
    const offset = span.first * blockSize;
    const length = Math.min(span.count * blockSize, logicalBytes - offset);
    try {
      if (decoded === undefined) this.digests.addZeros(length);
      else {
        for (const block of run.blocks!) this.writtenBytes += block?.targetLength ?? 0;
        if (this.targetFd === undefined) await this.write(run, decoded.bytes.subarray(0, length));
      }
    } finally {
      decoded?.release();
    }
    this.doneBytes += length;
    this.options.onProgress?.({ image: name, doneBytes: this.doneBytes, totalBytes: logicalBytes });
  }

  // Holes are not written: the target is fresh, and what is never written reads as zero.
  private async write(run: StoredRun, bytes: Uint8Array): Promise<void> {
    this.digests.add(bytes);
    const blocks = run.blocks!;
    for (let start = 0; start < blocks.length; ) {
      let end = start + 1;
      const isHole = blocks[start] === undefined;
      while (end < blocks.length && (blocks[end] === undefined) === isHole) end += 1;
      const part = bytes.subarray(start * blockSize, end * blockSize);
      if (!isHole) await this.target.write((run.first + start) * blockSize, part);
      start = end;
    }
  }
}

const zeros = new Uint8Array(runBlocksMax * blockSize);

class Digests {
  private readonly sha256;
  private readonly blake3;

  constructor(kinds: readonly DigestKind[]) {
    this.sha256 = kinds.includes('sha256') ? createHash('sha256') : undefined;
    this.blake3 = kinds.includes('blake3') ? createHasher() : undefined;
  }

  get isEmpty(): boolean {
    return this.sha256 === undefined && this.blake3 === undefined;
  }

  add(bytes: Uint8Array): void {
    this.sha256?.update(bytes);
    this.blake3?.update(bytes);
  }

  addZeros(length: number): void {
    if (this.isEmpty) return;
    for (let done = 0; done < length; done += zeros.length) {
      this.add(zeros.subarray(0, Math.min(zeros.length, length - done)));
    }
  }

  finish(): Partial<Record<DigestKind, string>> {
    const digests: Partial<Record<DigestKind, string>> = {};
    if (this.sha256) digests.sha256 = this.sha256.digest('hex');
    if (this.blake3) digests.blake3 = Buffer.from(this.blake3.digest()).toString('hex');
    return digests;
  }
}

import { type Extent, MapSource } from '../../gen/nfv/common/v1/common_pb.js';
import { isRpcError, RpcError } from '../../sdk/errors.ts';
import type { DriverClient } from './drivers.ts';

/** The longest map that goes into a request; longer ones are coarsened, which only makes them claim more. */
export const mapExtentsMax = 65_536;

export type ChangedBlocks = { source: MapSource; extents: { start: bigint; length: bigint }[] };

/**
 * The driver's map of what changed in an image between two snapshots, or the reason why there is none: then every
 * block is hashed, and the reason stands in the package.
 */
export async function changedBlocks(
  client: DriverClient,
  baseSnapshotId: string,
  targetSnapshotId: string,
  imageName: string,
  signal: AbortSignal,
): Promise<ChangedBlocks | string> {
  const merger = new ExtentMerger(mapExtentsMax);
  let source = MapSource.UNSPECIFIED;
  try {
    const request = { baseSnapshotId, targetSnapshotId, imageName };
    for await (const message of client.getMetadataDelta(request, { signal })) {
      source = message.source;
      for (const extent of message.extents) merger.add(extent);
    }
  } catch (thrown) {
    if (signal.aborted || !isRpcError(thrown)) throw thrown;
    const { reason, message } = RpcError.from(thrown);
    return `${reason}: ${message}`;
  }
  return { source, extents: merger.result() };
}

/** Collects ordered extents; when they are too many, the smallest gaps between neighbours are closed. */
export class ExtentMerger {
  private readonly max: number;
  private extents: { start: bigint; length: bigint }[] = [];
  /** Gaps up to this many bytes are closed. */
  private gap = 0n;

  constructor(max: number) {
    this.max = max;
  }

  add({ start, length }: Pick<Extent, 'start' | 'length'>): void {
    this.append({ start, length });
    while (this.extents.length > this.max) this.coarsen();
  }

  result(): { start: bigint; length: bigint }[] {
    return this.extents;
  }

  private append(extent: { start: bigint; length: bigint }): void {
    const last = this.extents.at(-1);
    if (last && extent.start - (last.start + last.length) <= this.gap) {
      const end = extent.start + extent.length;
      if (end > last.start + last.length) last.length = end - last.start;
    } else {
      this.extents.push({ ...extent });
    }
  }

  private coarsen(): void {
    this.gap = this.gap === 0n ? 65_536n : this.gap * 2n;
    const extents = this.extents;
    this.extents = [];
    for (const extent of extents) this.append(extent);
  }
}

import assert from 'node:assert/strict';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { extentsWithin } from '../extents-within.ts';
import { stepsPerTurn } from '../limits.ts';
import type {
  ByteRange,
  ChangedExtent,
  ChangeTrackingSource,
  FileExtent,
  SourceExtent,
} from '../source.ts';
import { type ChainOptions, closeChain, openChain } from './chain.ts';
import { ClusterCache } from './cluster.ts';
import type { Layer, Piece } from './layer.ts';

/** An image in qcow2 with everything below it, read as what the guest would see. */
export interface Qcow2Source extends ChangeTrackingSource {
  /** The files of the chain, the top first. */
  readonly chain: { path: string; format: 'qcow2' | 'raw' }[];
  /** Internal snapshots in the top file. Only the active state is read. */
  readonly internalSnapshotCount: number;
  /**
   * What the top `depth` files of the chain hold, i.e. what may differ from the image below them.
   * `depth` is at least 1 and less than the length of the chain, else everything is reported as
   * changed.
   */
  changedSince(depth: number): AsyncIterable<ChangedExtent>;
}

export async function openQcow2(path: string, options: ChainOptions = {}): Promise<Qcow2Source> {
  return new OpenQcow2(await openChain(path, options));
}

type Segment = { offset: number; piece: Piece; layer: Layer | undefined };

class OpenQcow2 implements Qcow2Source {
  readonly name: string;
  readonly sizeBytes: number;
  readonly chain: { path: string; format: 'qcow2' | 'raw' }[];
  readonly internalSnapshotCount: number;
  readonly changedOrigin: string;
  readonly #layers: Layer[];
  readonly #clusters = new ClusterCache();

  constructor(layers: Layer[]) {
    const top = layers[0]!;
    this.#layers = layers;
    this.name = top.file.path;
    this.sizeBytes = top.sizeBytes;
    this.internalSnapshotCount = top.header?.snapshotCount ?? 0;
    this.changedOrigin = `allocation of the overlay ${this.name}`;
    this.chain = layers.map(({ file, header }) => ({
      path: file.path,
      format: header === undefined ? 'raw' : 'qcow2',
    }));
  }

  /** What the guest sees from `offset` on, from the first of the top `depth` files that knows. */
  #segment(offset: number, limit: number, depth: number): Segment {
    let length = limit;
    for (const layer of this.#layers.slice(0, depth)) {
      if (offset >= layer.sizeBytes) return { offset, piece: { kind: 'zero', length }, layer };
      const piece = layer.next(offset, Math.min(length, layer.sizeBytes - offset));
      assert(piece.length > 0 && piece.length <= length);
      if (piece.kind !== 'absent') return { offset, piece, layer };
      length = piece.length;
    }
    return { offset, piece: { kind: 'absent', length }, layer: undefined };
  }

  *#segments(offset: number, end: number, depth = this.#layers.length): Generator<Segment> {
    for (let at = offset; at < end; ) {
      const segment = this.#segment(at, end - at, depth);
      yield segment;
      at += segment.piece.length;
    }
  }

  extents(within?: readonly ByteRange[]): AsyncGenerator<SourceExtent> {
    const classify = ({ kind }: Piece) => (kind === 'zero' || kind === 'absent' ? 'zero' : 'data');
    return extentsWithin(this.sizeBytes, within, (start, end) =>
      this.#joined(this.#layers.length, classify, start, end),
    );
  }

  async *changedSince(depth: number): AsyncGenerator<ChangedExtent> {
    assert(Number.isInteger(depth) && depth > 0, 'at least the top file counts');
    if (depth >= this.#layers.length) {
      if (this.sizeBytes > 0) yield { offset: 0, length: this.sizeBytes };
      return;
    }
    const pieces = this.#joined(depth, ({ kind }) => (kind === 'absent' ? 'clean' : 'changed'));
    for await (const { offset, length, kind } of pieces) {
      if (kind === 'changed') yield { offset, length };
    }
  }

  changed(): AsyncIterable<ChangedExtent> {
    return this.changedSince(1);
  }

  async *#joined<K extends string>(
    depth: number,
    classify: (piece: Piece) => K,
    start = 0,
    end = this.sizeBytes,
  ) {
    let steps = 0;
    let open: { offset: number; length: number; kind: K } | undefined;
    for (const { offset, piece } of this.#segments(start, end, depth)) {
      const kind = classify(piece);
      if (open?.kind === kind) open.length += piece.length;
      else {
        if (open !== undefined) yield open;
        open = { offset, length: piece.length, kind };
      }
      steps += 1;
      if (steps % stepsPerTurn === 0) await nextTurn();
    }
    if (open !== undefined) yield open;
  }

  fileExtents(offset: number, length: number): FileExtent[] | undefined {
    const extents: FileExtent[] = [];
    const end = Math.min(offset + length, this.sizeBytes);
    for (const { offset: at, piece, layer } of this.#segments(offset, end)) {
      if (piece.kind === 'compressed') return undefined;
      if (piece.kind !== 'file') continue;
      const { fd } = layer!.file;
      const { fileOffset } = piece;
      extents.push({ fd, fileOffset, bufferOffset: at - offset, length: piece.length });
    }
    return extents;
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    const end = Math.min(offset + target.length, this.sizeBytes);
    for (const segment of this.#segments(offset, end)) {
      const start = segment.offset - offset;
      await this.#fill(segment, target.subarray(start, start + segment.piece.length));
    }
    target.fill(0, Math.max(0, end - offset));
  }

  async #fill({ offset, piece, layer }: Segment, part: Uint8Array): Promise<void> {
    if (piece.kind === 'file') await layer!.file.read(piece.fileOffset, part);
    else if (piece.kind === 'compressed') {
      const cluster = await this.#clusters.load(layer!, piece.cluster);
      const start = offset - piece.cluster.clusterOffset;
      part.set(cluster.subarray(start, start + part.length));
    } else part.fill(0);
  }

  async fingerprint(): Promise<string | undefined> {
    const all = await Promise.all(this.#layers.map(({ file }) => file.fingerprint()));
    return all.includes(undefined) ? undefined : all.join(' ');
  }

  close(): Promise<void> {
    return closeChain(this.#layers);
  }
}

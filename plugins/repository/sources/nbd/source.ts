import type { ConnectionOptions } from 'node:tls';
import { failedPrecondition } from '../../../../sdk/errors.ts';
import { extentsWithin } from '../extents-within.ts';
import type {
  BlockSource,
  ByteRange,
  ChangedExtent,
  ChangeTrackingSource,
  SourceExtent,
} from '../source.ts';
import type { NbdAddress } from './address.ts';
import { NbdConnection } from './connection.ts';
import { allocationContext, depthContext, limits, stateZero, violation } from './protocol.ts';

/** Where the knowledge about changes comes from. */
export type NbdChanges =
  /** The dirty bitmap of this name. */
  | { bitmap: string }
  /** What the top `depth` files of the chain behind the export hold. */
  | { depth: number };

export type NbdOptions = {
  /** Asked from the server at the start: without it FAILED_PRECONDITION `NBD_CONTEXT_MISSING`. */
  changes?: NbdChanges;
  /** For each answer of the server. */
  timeoutMs?: number;
  /** With it the connection is encrypted, or fails. */
  tls?: ConnectionOptions;
};

const timeoutDefaultMs = 30_000;

/** Opens an export for reading. Without `changes` the source cannot tell changes. */
export async function openNbd(
  address: NbdAddress,
  options: NbdOptions & { changes: NbdChanges },
): Promise<ChangeTrackingSource>;
export async function openNbd(address: NbdAddress, options?: NbdOptions): Promise<BlockSource>;
export async function openNbd(address: NbdAddress, options: NbdOptions = {}): Promise<BlockSource> {
  const { changes, tls, timeoutMs = timeoutDefaultMs } = options;
  const wanted = changes === undefined ? undefined : contextOf(changes);
  const connection = await NbdConnection.open(address, {
    contexts: wanted === undefined ? [allocationContext] : [allocationContext, wanted],
    timeoutMs,
    ...(tls === undefined ? {} : { tls }),
  });
  if (changes === undefined) return new NbdSource(connection);
  const known = [...connection.negotiated.contexts.values()];
  if (known.includes(wanted!)) return new NbdTrackingSource(connection, changes);
  const { name } = connection;
  await connection.close();
  throw failedPrecondition('NBD_CONTEXT_MISSING', `${name}: the server has no ${wanted}`, {
    export: name,
    context: wanted!,
  });
}

function contextOf(changes: NbdChanges): string {
  return 'bitmap' in changes ? `qemu:dirty-bitmap:${changes.bitmap}` : depthContext;
}

class NbdSource implements BlockSource {
  readonly name: string;
  readonly sizeBytes: number;
  readonly #connection: NbdConnection;

  constructor(connection: NbdConnection) {
    this.#connection = connection;
    this.name = connection.name;
    this.sizeBytes = connection.negotiated.sizeBytes;
  }

  extents(within?: readonly ByteRange[]): AsyncGenerator<SourceExtent> {
    const classify = (state: number) => (state & stateZero ? 'zero' : 'data');
    return extentsWithin(this.sizeBytes, within, (start, end) =>
      this.classified(allocationContext, classify, start, end),
    );
  }

  /**
   * A part of the export, by default all of it, in extents of one kind each; one extent if the
   * server does not know the context.
   */
  protected async *classified<K extends string>(
    context: string,
    classify: (state: number) => K,
    start = 0,
    end = this.sizeBytes,
  ): AsyncGenerator<{ offset: number; length: number; kind: K }> {
    const { contexts } = this.#connection.negotiated;
    const number = [...contexts].find(([, name]) => name === context)?.[0];
    let open = { offset: start, length: 0, kind: classify(0) };
    for (let at = start; at < end; ) {
      const length = Math.min(limits.statusBytes, end - at);
      const answer =
        number === undefined ? [{ length, state: 0 }] : await this.#status(at, length, number);
      for (const extent of answer) {
        // The last extent may reach further than was asked, not further than the export.
        const within = Math.min(extent.length, end - at);
        const kind = classify(extent.state);
        if (within > 0 && kind !== open.kind) {
          if (open.length > 0) yield open;
          open = { offset: at, length: 0, kind };
        }
        open.length += within;
        at += within;
      }
    }
    if (open.length > 0) yield open;
  }

  async #status(offset: number, length: number, context: number) {
    const { blockMinBytes } = this.#connection.negotiated;
    const aligned = Math.ceil(length / blockMinBytes) * blockMinBytes;
    const extents = (await this.#connection.status(offset, aligned)).get(context);
    if (extents !== undefined) return extents;
    throw violation(this.name, 'did not answer about a context it has');
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    const inside = Math.max(0, Math.min(target.length, this.sizeBytes - offset));
    target.fill(0, inside);
    const { blockMinBytes, readMaxBytes } = this.#connection.negotiated;
    const pieces: Promise<void>[] = [];
    for (let at = 0; at < inside; at += readMaxBytes) {
      const part = target.subarray(at, Math.min(at + readMaxBytes, inside));
      pieces.push(this.#readAligned(offset + at, part, blockMinBytes));
    }
    await Promise.all(pieces);
  }

  async #readAligned(offset: number, part: Uint8Array, unit: number): Promise<void> {
    const start = offset - (offset % unit);
    const end = Math.min(Math.ceil((offset + part.length) / unit) * unit, this.sizeBytes);
    if (start === offset && end - start === part.length) {
      await this.#connection.read(offset, part);
      return;
    }
    const whole = new Uint8Array(end - start);
    for (let at = 0; at < whole.length; at += limits.readBytes) {
      await this.#connection.read(start + at, whole.subarray(at, at + limits.readBytes));
    }
    part.set(whole.subarray(offset - start, offset - start + part.length));
  }

  close(): Promise<void> {
    return this.#connection.close();
  }
}

class NbdTrackingSource extends NbdSource implements ChangeTrackingSource {
  readonly changedOrigin: string;
  readonly #changes: NbdChanges;

  constructor(connection: NbdConnection, changes: NbdChanges) {
    super(connection);
    this.#changes = changes;
    this.changedOrigin = `${contextOf(changes)} of ${connection.name}`;
  }

  async *changed(): AsyncGenerator<ChangedExtent> {
    const changes = this.#changes;
    const isChanged =
      'bitmap' in changes
        ? (state: number) => (state & 1) !== 0
        : (state: number) => state !== 0 && state <= changes.depth;
    const classify = (state: number) => (isChanged(state) ? 'changed' : 'clean');
    const pieces = this.classified(contextOf(changes), classify);
    for await (const { offset, length, kind } of pieces) {
      if (kind === 'changed') yield { offset, length };
    }
  }
}

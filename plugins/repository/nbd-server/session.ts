/** The requests of one client, from the end of the handshake to the end of its connection. */
import { Code, failedPrecondition, isRpcError, RpcError } from '../../../sdk/errors.ts';
import { command, commandFlag, errno } from '../sources/nbd/protocol.ts';
import type { DiskPart, DiskRead } from './disk.ts';
import { type Established, readBytesMax } from './handshake.ts';
import { pieceBytes, requestsInFlightMax } from './limits.ts';
import { Outgoing } from './outgoing.ts';
import {
  encodeError,
  encodeParts,
  encodeSimple,
  encodeWhole,
  plainPieces,
  StatusReply,
} from './replies.ts';
import { type Agreement, parseRequest, type Request, refuse, requestHeadBytes } from './request.ts';

/** RUNNING → STOPPING (no new requests) → ENDED, when `run` has returned. */
export class Session {
  readonly #client: Established;
  readonly #name: string;
  readonly #onFault: (text: string) => void;
  readonly #outgoing: Outgoing;
  readonly #agreed: Agreement;
  readonly #running = new Set<Promise<void>>();

  constructor(client: Established, name: string, onFault: (text: string) => void) {
    const { disk, isStructured, hasStatus, socket } = client;
    this.#client = client;
    this.#name = name;
    this.#onFault = onFault;
    this.#outgoing = new Outgoing(socket, name);
    this.#agreed = {
      sizeBytes: disk.sizeBytes,
      isWritable: disk.changes !== undefined,
      readBytesMax: readBytesMax(isStructured),
      hasStatus,
    };
  }

  /** Answers until the client leaves, breaks the rules or is stopped; then all has ended. */
  async run(): Promise<void> {
    try {
      while (await this.#next());
    } finally {
      await Promise.all(this.#running);
    }
  }

  /** Takes no more requests; those under way are answered. */
  stop(): void {
    const text = `${this.#name}: the server ends`;
    this.#client.reader.fail(failedPrecondition('NBD_CLOSED', text, { client: this.#name }));
  }

  async #next(): Promise<boolean> {
    const { reader } = this.#client;
    // A guest may be silent for days.
    const head = await reader.take(requestHeadBytes, Number.POSITIVE_INFINITY);
    const request = parseRequest(head, this.#name);
    if (request.type === command.disconnect) return false;
    while (this.#running.size >= requestsInFlightMax) await Promise.race(this.#running);
    const refused = refuse(request, this.#agreed);
    if (refused !== undefined) {
      if (request.type === command.write) await this.#skip(request.length);
      this.#start(this.#sendError(request, refused.errno, refused.text));
    } else if (request.type === command.write) await this.#takeWrite(request);
    else this.#start(this.#answer(request, () => this.#perform(request)));
    return true;
  }

  #start(work: Promise<void>): void {
    const done = work
      // The connection is gone or going: the reader of requests finds out by itself.
      .catch(() => void this.#client.socket.destroy())
      .finally(() => this.#running.delete(done));
    this.#running.add(done);
  }

  async #answer(request: Request, perform: () => Promise<void>): Promise<void> {
    try {
      await perform();
    } catch (error) {
      if (isRpcError(error, 'NBD_DISCONNECTED')) throw error;
      const known = RpcError.from(error);
      const place = `export "${this.#client.exportName}", ${request.length} bytes at ${request.offset}`;
      this.#onFault(`${place}: ${known.message} [${known.reason}]`);
      await this.#sendError(request, errnoOf(known), known.message);
    }
  }

  async #perform(request: Request): Promise<void> {
    const { offset, length, flags } = request;
    const { disk } = this.#client;
    const { changes } = disk;
    switch (request.type) {
      case command.read:
        return await this.#read(request);
      case command.blockStatus:
        return await this.#status(request);
      case command.cache:
        for (const { at, bytes } of piecesOf(offset, length))
          (await disk.read(at, bytes)).release();
        break;
      case command.writeZeroes:
        await changes!.zero(offset, length);
        break;
      case command.trim:
        await changes!.trim(offset, length);
        break;
    }
    if (request.type === command.flush || (flags & commandFlag.fua) !== 0) await changes?.flush();
    await this.#outgoing.send([encodeSimple(request.cookie)]);
  }

  async #read(request: Request): Promise<void> {
    const { cookie, offset, length, flags } = request;
    if (!this.#client.isStructured) return await this.#readSimple(request);
    if ((flags & commandFlag.df) !== 0) {
      await this.#sendRead(offset, length, (parts) => encodeWhole(cookie, offset, parts));
      return;
    }
    for (const { at, bytes, isLast } of piecesOf(offset, length)) {
      await this.#sendRead(at, bytes, (parts) => encodeParts(cookie, at, parts, isLast));
    }
  }

  async #sendRead(
    offset: number,
    length: number,
    encode: (parts: DiskPart[]) => Uint8Array[],
  ): Promise<void> {
    const { parts, release } = await this.#client.disk.read(offset, length);
    await this.#outgoing.send(encode(parts)).finally(release);
  }

  // The reply has no room for an error after its head, so that everything is read first.
  async #readSimple({ cookie, offset, length }: Request): Promise<void> {
    const reads: DiskRead[] = [];
    try {
      for (const { at, bytes } of piecesOf(offset, length)) {
        reads.push(await this.#client.disk.read(at, bytes));
      }
      const parts = reads.flatMap((read) => read.parts);
      await this.#outgoing.send([encodeSimple(cookie), ...plainPieces(parts)]);
    } finally {
      for (const { release } of reads) release();
    }
  }

  async #status({ cookie, offset, length, flags }: Request): Promise<void> {
    const reply = new StatusReply();
    const isOne = (flags & commandFlag.reqOne) !== 0;
    for await (const extent of this.#client.disk.extents(offset, length)) {
      if (!reply.add(extent.length, extent.isZero)) break;
      if (isOne && reply.count > 1) break;
    }
    await this.#outgoing.send([reply.encode(cookie, isOne ? 1 : undefined)]);
  }

  /** Reads the data of a write as they come; only its last piece is written beside what follows. */
  async #takeWrite(request: Request): Promise<void> {
    const changes = this.#client.disk.changes!;
    let failure: { error: unknown } | undefined;
    for (const { at, bytes, isLast } of piecesOf(request.offset, request.length)) {
      const data = await this.#client.reader.take(bytes);
      const write = async () => {
        if (failure) throw failure.error;
        await changes.write(at, data);
      };
      if (isLast) this.#start(this.#answer(request, () => this.#finishWrite(request, write)));
      else {
        await write().catch((error: unknown) => {
          failure ??= { error };
        });
      }
    }
  }

  async #finishWrite({ cookie, flags }: Request, write: () => Promise<void>): Promise<void> {
    await write();
    if ((flags & commandFlag.fua) !== 0) await this.#client.disk.changes!.flush();
    await this.#outgoing.send([encodeSimple(cookie)]);
  }

  async #skip(length: number): Promise<void> {
    for (const { bytes } of piecesOf(0, length)) await this.#client.reader.take(bytes);
  }

  async #sendError({ type, cookie }: Request, error: number, text: string): Promise<void> {
    // Only reads and questions about extents must be answered in the structured form.
    const isStructured = type === command.read || type === command.blockStatus;
    const isError = isStructured && this.#client.isStructured;
    await this.#outgoing.send([
      isError ? encodeError(cookie, error, text) : encodeSimple(cookie, error),
    ]);
  }
}

/** Cuts a range at multiples of the piece, so that no block is in two. */
function* piecesOf(
  offset: number,
  length: number,
): Generator<{ at: number; bytes: number; isLast: boolean }> {
  const end = offset + length;
  for (let at = offset; at < end; ) {
    const next = Math.min(end, (Math.floor(at / pieceBytes) + 1) * pieceBytes);
    yield { at, bytes: next - at, isLast: next === end };
    at = next;
  }
}

function errnoOf(error: RpcError): number {
  if (error.code === Code.RESOURCE_EXHAUSTED) return errno.noSpace;
  if (error.code === Code.INVALID_ARGUMENT) return errno.inval;
  return errno.io;
}

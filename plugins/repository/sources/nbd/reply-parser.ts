import {
  dataLoss,
  permissionDenied,
  type RpcError,
  resourceExhausted,
  unavailable,
} from '../../../../sdk/errors.ts';
import {
  errno,
  errorTypeBit,
  limits,
  magic,
  replyFlagDone,
  replyType,
  violation,
} from './protocol.ts';

/**
 * An answer to a question about extents: for each context lengths in bytes and states, from the
 * question's offset on.
 */
export type StatusExtent = { length: number; state: number };

/** A request that waits for its answer. `target` is filled as the data come. */
export type Pending =
  | { kind: 'read'; offset: number; target: Uint8Array; settle: (error?: RpcError) => void }
  /** A write or another request that is answered without data. */
  | { kind: 'change'; offset: number; settle: (error?: RpcError) => void }
  | {
      kind: 'status';
      offset: number;
      contexts: Map<number, StatusExtent[]>;
      settle: (error?: RpcError) => void;
    };

type Open = { pending: Pending; ranges: [start: number, end: number][]; error?: RpcError };

type Chunk = { cookie: bigint; open: Open; flags: number; type: number; length: number };

/**
 * What is expected next: a header, a payload that is collected, or data that go to their place at
 * once.
 */
type State =
  | { step: 'head'; bytes: number }
  | { step: 'payload'; bytes: number; chunk: Chunk }
  | { step: 'data'; target: Uint8Array; filled: number; after: () => void };

/**
 * Takes the bytes that a server sends and settles the requests they answer. A server that lies
 * (unknown cookie, length, place or type; data twice or missing) is refused with
 * `NBD_PROTOCOL_VIOLATION`; it is thrown, because nothing after it can be understood. Holds at most
 * one payload of bounded size.
 */
export class ReplyParser {
  readonly #name: string;
  readonly #structured: boolean;
  readonly #find: (cookie: bigint) => Pending | undefined;
  readonly #remove: (cookie: bigint) => void;
  readonly #open = new Map<bigint, Open>();
  #collected = Buffer.alloc(0);
  #state: State = { step: 'head', bytes: 4 };

  constructor(
    name: string,
    structured: boolean,
    requests: { find(cookie: bigint): Pending | undefined; remove(cookie: bigint): void },
  ) {
    this.#name = name;
    this.#structured = structured;
    this.#find = (cookie) => requests.find(cookie);
    this.#remove = (cookie) => requests.remove(cookie);
  }

  push(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length) {
      const state = this.#state;
      if (state.step === 'data') {
        const take = Math.min(bytes.length - at, state.target.length - state.filled);
        state.target.set(bytes.subarray(at, at + take), state.filled);
        state.filled += take;
        at += take;
        if (state.filled === state.target.length) state.after();
        continue;
      }
      const take = Math.min(bytes.length - at, state.bytes - this.#collected.length);
      this.#collected = Buffer.concat([this.#collected, bytes.subarray(at, at + take)]);
      at += take;
      if (this.#collected.length < state.bytes) continue;
      const whole = this.#collected;
      if (state.step === 'head') this.#head(whole);
      else this.#payload(state.chunk, whole);
    }
  }

  #expect(state: State) {
    this.#collected = Buffer.alloc(0);
    this.#state = state;
  }

  #head(head: Buffer) {
    const found = head.readUInt32BE(0);
    if (found === magic.simpleReply) {
      if (head.length < 16) this.#state = { step: 'head', bytes: 16 };
      else this.#simple(head.readUInt32BE(4), head.readBigUInt64BE(8));
    } else if (found === magic.structuredReply && this.#structured) {
      if (head.length < 20) this.#state = { step: 'head', bytes: 20 };
      else this.#structuredHead(head);
    } else throw violation(this.#name, `began a reply with 0x${found.toString(16)}`);
  }

  #simple(number: number, cookie: bigint) {
    const { pending, ranges } = this.#opened(cookie);
    if (ranges.length > 0) throw violation(this.#name, 'mixed two kinds of replies');
    this.#expect({ step: 'head', bytes: 4 });
    if (number !== 0) this.#settle(cookie, serverError(this.#name, number, pending, ''));
    else if (pending.kind === 'change') this.#settle(cookie);
    else if (pending.kind === 'status' || this.#structured) {
      throw violation(this.#name, 'answered without the data');
    } else {
      const after = () => {
        this.#expect({ step: 'head', bytes: 4 });
        this.#settle(cookie);
      };
      this.#expect({ step: 'data', target: pending.target, filled: 0, after });
    }
  }

  #opened(cookie: bigint): Open {
    const known = this.#open.get(cookie);
    if (known !== undefined) return known;
    const pending = this.#find(cookie);
    if (pending === undefined) throw violation(this.#name, 'answered what was not asked');
    const open: Open = { pending, ranges: [] };
    this.#open.set(cookie, open);
    return open;
  }

  #structuredHead(head: Buffer) {
    const flags = head.readUInt16BE(4);
    const type = head.readUInt16BE(6);
    const cookie = head.readBigUInt64BE(8);
    const length = head.readUInt32BE(16);
    const open = this.#opened(cookie);
    const chunk: Chunk = { cookie, open, flags, type, length };
    const { pending } = open;
    const fits =
      (type === replyType.none && length === 0 && (flags & replyFlagDone) !== 0) ||
      (type === replyType.data &&
        pending.kind === 'read' &&
        length > 8 &&
        length - 8 <= pending.target.length) ||
      (type === replyType.hole && pending.kind === 'read' && length === 12) ||
      (type === replyType.status &&
        pending.kind === 'status' &&
        length >= 12 &&
        length % 8 === 4 &&
        length <= limits.statusPayloadBytes) ||
      ((type & errorTypeBit) !== 0 && length >= 6 && length <= limits.errorPayloadBytes);
    if (!fits) throw violation(this.#name, `sent a reply of type ${type} with ${length} bytes`);
    if (type === replyType.none) this.#finish(chunk);
    else if (type === replyType.data) this.#expect({ step: 'payload', bytes: 8, chunk });
    else this.#expect({ step: 'payload', bytes: length, chunk });
  }

  #payload(chunk: Chunk, bytes: Buffer) {
    const { open, type, length } = chunk;
    if (type === replyType.status) this.#statusPayload(open, bytes);
    else if (type === replyType.data) {
      const target = this.#claim(open, bytes.readBigUInt64BE(0), length - 8);
      this.#expect({ step: 'data', target, filled: 0, after: () => this.#finish(chunk) });
      return;
    } else if (type === replyType.hole) {
      this.#claim(open, bytes.readBigUInt64BE(0), bytes.readUInt32BE(8)).fill(0);
    } else {
      const text = bytes
        .subarray(6, 6 + bytes.readUInt16BE(4))
        .toString('utf8')
        .slice(0, 200);
      open.error ??= serverError(this.#name, bytes.readUInt32BE(0), open.pending, text);
    }
    this.#finish(chunk);
  }

  /** The part of the request's target at this offset of the export; each byte may come once. */
  #claim(open: Open, offset: bigint, length: number): Uint8Array {
    const { pending, ranges } = open;
    if (pending.kind !== 'read') throw violation(this.#name, 'sent data for another request');
    const start = Number(offset - BigInt(pending.offset));
    const end = start + length;
    if (start < 0 || length === 0 || end > pending.target.length) {
      throw violation(this.#name, 'sent data outside of what was asked');
    }
    const overlap = ranges.some(([from, to]) => start < to && from < end);
    if (overlap) throw violation(this.#name, 'sent data twice');
    if (ranges.length >= limits.chunksPerReply) throw violation(this.#name, 'sent too many pieces');
    const last = ranges.at(-1);
    if (last?.[1] === start) last[1] = end;
    else ranges.push([start, end]);
    return pending.target.subarray(start, end);
  }

  #statusPayload({ pending }: Open, bytes: Buffer) {
    if (pending.kind !== 'status') throw violation(this.#name, 'sent extents for another request');
    const context = bytes.readUInt32BE(0);
    if (pending.contexts.has(context)) throw violation(this.#name, 'sent extents twice');
    if (pending.contexts.size >= limits.optionReplies) {
      throw violation(this.#name, 'sent extents of unknown contexts');
    }
    const extents: StatusExtent[] = [];
    for (let at = 4; at < bytes.length; at += 8) {
      const length = bytes.readUInt32BE(at);
      if (length === 0) throw violation(this.#name, 'sent an empty extent');
      extents.push({ length, state: bytes.readUInt32BE(at + 4) });
    }
    pending.contexts.set(context, extents);
  }

  #finish({ cookie, open, flags }: Chunk) {
    this.#expect({ step: 'head', bytes: 4 });
    if ((flags & replyFlagDone) === 0) return;
    if (open.error === undefined && open.pending.kind === 'read') {
      const covered = open.ranges.reduce((sum, [from, to]) => sum + to - from, 0);
      if (covered !== open.pending.target.length) {
        throw violation(this.#name, 'ended a reply before all data were sent');
      }
    }
    this.#settle(cookie, open.error);
  }

  #settle(cookie: bigint, error?: RpcError) {
    const open = this.#open.get(cookie);
    this.#open.delete(cookie);
    this.#remove(cookie);
    open?.pending.settle(error);
  }
}

function serverError(name: string, number: number, pending: Pending, text: string): RpcError {
  const { offset, kind } = pending;
  const detail = text === '' ? '' : ` (${text})`;
  const message = `${name}: the server answers error ${number}${detail} at offset ${offset}`;
  const metadata = { export: name, errno: String(number), offset: String(offset) };
  if (kind !== 'change') return dataLoss('SOURCE_READ_FAILED', message, metadata);
  if (number === errno.noSpace) return resourceExhausted('TARGET_NO_SPACE', message, metadata);
  if (number === errno.perm) return permissionDenied('TARGET_UNWRITABLE', message, metadata);
  return unavailable('TARGET_IO_FAILED', message, metadata);
}

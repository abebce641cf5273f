import type { CallMetadata } from './metadata.ts';

/** The largest message in either direction: room for a page of results, too small to move disks. */
export const messageBytesMax = 16 * 1024 * 1024;
/** Messages that wait between the two ends of a stream before its sender has to wait. */
export const queuedMessagesMax = 16;
/** The longest deadline of a call, 24 hours. Streams that live longer are opened again. */
export const deadlineMsMax = 24 * 60 * 60 * 1000;

/** Metadata that names the plugin instance a call is meant for. */
export const targetKey = 'nfv-target';
/** Metadata that only the kernel writes: who calls, and over how many hops. */
export const callerRoleKey = 'nfv-caller-role';
export const callerIdentityKey = 'nfv-caller-identity';
export const hopsKey = 'nfv-hops';

/** How a call ended. `code` is a gRPC status number; 0 is OK. */
export type CallStatus = {
  code: number;
  message: string;
  trailers: CallMetadata;
};

/** What starts a call. */
export type CallRequest = {
  /** "/package.Service/Method". */
  path: string;
  metadata: CallMetadata;
  deadline: Date;
  /** Cancels the call when it aborts. */
  signal?: AbortSignal | undefined;
  /** The plugin instance meant; absent: the only one that serves the method to this caller. */
  target?: string | undefined;
};

/**
 * The caller's end of a call. All four kinds look the same at this level: bytes of messages in
 * both directions, then a status.
 *
 * The call is over for a reader when `responses` has ended *and* `status` has resolved: a status
 * may be known while messages still wait in the queue.
 */
export interface OutgoingCall {
  /** Sends one message; resolves when there is room for the next, or when the call is over. */
  send(message: Uint8Array): Promise<void>;
  /** Says that no more messages follow. */
  halfClose(): void;
  /**
   * Resolves with the response headers; with empty ones if the call ended without. Never rejects.
   */
  readonly headers: Promise<CallMetadata>;
  /**
   * One reader. Ends after the last message whatever the status. Leaving the loop cancels the call.
   */
  readonly responses: AsyncIterable<Uint8Array>;
  /** Never rejects. */
  readonly status: Promise<CallStatus>;
  /** Ends the call with CANCELLED. Does nothing when it is over. */
  cancel(): void;
}

/** A way to call methods: a gRPC channel, or the kernel in the same process. */
export interface Transport {
  start(request: CallRequest): OutgoingCall;
}

/** The producer's end of a call. */
export interface IncomingCall {
  readonly path: string;
  readonly metadata: CallMetadata;
  readonly deadline: Date | undefined;
  /** Aborts when the caller cancels, the deadline passes or the connection breaks. */
  readonly signal: AbortSignal;
  /** One reader. Ends at the caller's half close, and early when the call is over. */
  readonly requests: AsyncIterable<Uint8Array>;
  /** Sends response headers; only before the first message. */
  sendHeaders(metadata: CallMetadata): void;
  /** Sends one message; resolves when there is room for the next, or when the call is over. */
  send(message: Uint8Array): Promise<void>;
}

/** Serves a call of any kind: reads requests, sends responses, returns the status. */
export type ByteHandler = (call: IncomingCall) => Promise<CallStatus>;

/** What went wrong, for branching; the message says the same in words. */
export type CoreErrorReason =
  | 'NOT_BUILT' // the WebAssembly module is missing
  | 'BAD_RUN' // the caller's description of a run does not hold together
  | 'QUEUE_FULL' // more runs wait than the pool's limit
  | 'SHORT_READ' // a file ends before the bytes that a run needs
  | 'IO_FAILED' // the operating system refused a read or a write
  | 'BLOCK_MALFORMED' // stored bytes are not an LZ4 block of the right size
  | 'BLOCK_MISMATCH' // a block decodes to bytes with another digest than its id
  | 'WORKER_DIED' // the worker that had the run ended
  | 'POOL_CLOSED';

export type CoreErrorDetails = Record<string, string | number>;

/** Every error that the core reports. `details` holds each value that the message mentions. */
export class CoreError extends Error {
  readonly reason: CoreErrorReason;
  readonly details: CoreErrorDetails;

  constructor(reason: CoreErrorReason, message: string, details: CoreErrorDetails = {}) {
    super(message);
    this.name = new.target.name;
    this.reason = reason;
    this.details = details;
  }
}

/** A file ended early: `wanted` bytes at `fileOffset` of `fd`, of which only `got` exist. */
export class ShortReadError extends CoreError {
  get fd(): number {
    return this.details.fd as number;
  }
  get fileOffset(): number {
    return this.details.fileOffset as number;
  }
  get got(): number {
    return this.details.got as number;
  }
}

/** A stored block is not what its id says. `blockIndex` counts from 0 in the run. */
export class BlockError extends CoreError {
  get blockIndex(): number {
    return this.details.blockIndex as number;
  }
}

/** A CoreError as it crosses from a worker. */
export type CoreErrorMessage = {
  reason: CoreErrorReason;
  message: string;
  details: CoreErrorDetails;
};

/** Describes an error so that another thread can throw it again. */
export function toErrorMessage(error: CoreError): CoreErrorMessage {
  return { reason: error.reason, message: error.message, details: error.details };
}

/** Makes the error whose description came from another thread. */
export function fromErrorMessage({ reason, message, details }: CoreErrorMessage): CoreError {
  if (reason === 'SHORT_READ') return new ShortReadError(reason, message, details);
  if (reason === 'BLOCK_MALFORMED' || reason === 'BLOCK_MISMATCH') {
    return new BlockError(reason, message, details);
  }
  return new CoreError(reason, message, details);
}

import { Code } from './error-code.ts';

export { Code };

/** The `domain` of every ErrorInfo that this project sends. */
export const errorDomain = 'micromano';

const messageCharactersMax = 1024;
const metadataEntriesMax = 32;
const metadataCharactersMax = 256;
const violationsMax = 16;

/**
 * One field of a request that breaks a rule. `field` is a path, for example
 * "volumes[2].size_bytes".
 */
export type FieldViolation = { field: string; description: string };

/** A google.rpc detail that is passed on without being understood. */
export type ErrorDetail = { typeUrl: string; value: Uint8Array };

export type RpcErrorOptions = {
  violations?: readonly FieldViolation[];
  details?: readonly ErrorDetail[];
  cause?: unknown;
};

/**
 * The only error that crosses a call. `code` decides whether to retry, `reason` decides what to do,
 * `metadata` carries every value the sentence mentions; nobody parses `message`.
 * `cause` stays in this process.
 */
export class RpcError extends Error {
  override readonly name = 'RpcError';
  readonly code: Code;
  /** UPPER_SNAKE_CASE, listed in the comment of the method that answers it. */
  readonly reason: string;
  readonly metadata: Readonly<Record<string, string>>;
  /** The fields that break a rule, of a FIELD_VIOLATION. */
  readonly violations: readonly FieldViolation[];
  /** Further google.rpc details that came from a peer, as they came. */
  readonly details: readonly ErrorDetail[];

  constructor(
    code: Code,
    reason: string,
    message: string,
    metadata: Record<string, string> = {},
    options: RpcErrorOptions = {},
  ) {
    super(tidy(message, messageCharactersMax), { cause: options.cause });
    this.code = code;
    this.reason = reason;
    this.metadata = metadata;
    this.violations = options.violations ?? [];
    this.details = options.details ?? [];
  }

  /**
   * Turns whatever was thrown into an RpcError. Aborts become CANCELLED, timeouts
   * DEADLINE_EXCEEDED, anything unknown INTERNAL with a fixed text: its own text is for this
   * process only (see `cause`).
   */
  static from(thrown: unknown): RpcError {
    if (thrown instanceof RpcError) return thrown;
    if (thrown instanceof Error && thrown.name === 'AbortError') {
      return new RpcError(Code.CANCELLED, 'CANCELLED', 'the call was cancelled', {}, cause(thrown));
    }
    if (thrown instanceof Error && thrown.name === 'TimeoutError') {
      const text = 'the deadline of the call has passed';
      return new RpcError(Code.DEADLINE_EXCEEDED, 'DEADLINE_EXCEEDED', text, {}, cause(thrown));
    }
    return new RpcError(Code.INTERNAL, 'INTERNAL', 'an internal error occurred', {}, cause(thrown));
  }
}

/** True for an RpcError, optionally only with this code or this reason. */
export function isRpcError(thrown: unknown, codeOrReason?: Code | string): thrown is RpcError {
  if (!(thrown instanceof RpcError)) return false;
  if (codeOrReason === undefined) return true;
  return thrown.code === codeOrReason || thrown.reason === codeOrReason;
}

type Maker = (reason: string, message: string, metadata?: Record<string, string>) => RpcError;

function maker(code: Code): Maker {
  return (reason, message, metadata = {}) => new RpcError(code, reason, message, metadata);
}

/** The request is wrong in itself: fix it, do not retry. */
export function invalidArgument(
  reason: string,
  message: string,
  metadata: Record<string, string> = {},
  violations: readonly FieldViolation[] = [],
): RpcError {
  if (violations.length === 0)
    return new RpcError(Code.INVALID_ARGUMENT, reason, message, metadata);
  const fieldViolations = violations.slice(0, violationsMax).map(({ field, description }) => ({
    field: tidy(field, metadataCharactersMax),
    description: tidy(description, metadataCharactersMax),
  }));
  return new RpcError(Code.INVALID_ARGUMENT, reason, message, metadata, {
    violations: fieldViolations,
  });
}

/** The thing named does not exist. */
export const notFound = maker(Code.NOT_FOUND);
/** The thing exists already, and differs from what was asked for. */
export const alreadyExists = maker(Code.ALREADY_EXISTS);
/** The state forbids it: change the state first. */
export const failedPrecondition = maker(Code.FAILED_PRECONDITION);
/** This caller may not do it. */
export const permissionDenied = maker(Code.PERMISSION_DENIED);
/** It is not known who calls. */
export const unauthenticated = maker(Code.UNAUTHENTICATED);
/** Another change came first: read again, then retry. */
export const aborted = maker(Code.ABORTED);
/** A limit or a quota was reached, or there is no space: make room or ask for less. */
export const resourceExhausted = maker(Code.RESOURCE_EXHAUSTED);
/** Not reachable now: retry with back-off. */
export const unavailable = maker(Code.UNAVAILABLE);
/** This plugin cannot do it, now or ever. */
export const unimplemented = maker(Code.UNIMPLEMENTED);
/** An invariant is broken. Prefer to throw the original error and let the server report it. */
export const internal = maker(Code.INTERNAL);
/** Stored or transferred data is damaged or short. */
export const dataLoss = maker(Code.DATA_LOSS);
/** The time allowed is over; the outcome must be asked for. */
export const deadlineExceeded = maker(Code.DEADLINE_EXCEEDED);
/** The caller gave up. */
export const cancelled = maker(Code.CANCELLED);

function cause(thrown: unknown): { cause: unknown } {
  return { cause: thrown };
}

/** Cuts a text, and mends lone surrogates, which neither UTF-8 nor grpc-js's encoder can carry. */
function tidy(text: string, charactersMax: number): string {
  const cut = text.length <= charactersMax ? text : `${text.slice(0, charactersMax - 1)}…`;
  return cut.toWellFormed();
}

/** Metadata as far as a trailer carries it. */
export function boundedMetadata(
  metadata: Readonly<Record<string, string>>,
): Record<string, string> {
  const entries = Object.entries(metadata).slice(0, metadataEntriesMax);
  return Object.fromEntries(
    entries.map(([key, value]) => [key, tidy(String(value), metadataCharactersMax)]),
  );
}

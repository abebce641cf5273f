import {
  dataLoss,
  failedPrecondition,
  internal,
  RpcError,
  resourceExhausted,
  unavailable,
} from '../errors.ts';

/** SQLite's primary result codes (sqlite.org/rescode.html); the extended ones carry them in the low byte. */
const busy = 5;
const locked = 6;
const readOnly = 8;
const ioError = 10;
const corrupt = 11;
const full = 13;
const cannotOpen = 14;
const constraint = 19;
const notADatabase = 26;

/** The primary result code of an error of node:sqlite, or undefined for any other error. */
function primaryCode(thrown: unknown): number | undefined {
  if (!(thrown instanceof Error) || !('errcode' in thrown)) return undefined;
  return typeof thrown.errcode === 'number' ? thrown.errcode & 0xff : undefined;
}

/** True when a uniqueness rule was broken. */
export function isConstraint(thrown: unknown): boolean {
  return primaryCode(thrown) === constraint;
}

/** True when another connection holds the lock. */
export function isBusy(thrown: unknown): boolean {
  const code = primaryCode(thrown);
  return code === busy || code === locked;
}

/** Turns an error of SQLite into what a caller can act on; hands any other error back as it is. */
export function storeError(thrown: unknown, path: string): unknown {
  const code = primaryCode(thrown);
  if (code === undefined || thrown instanceof RpcError) return thrown;
  const why = (thrown as Error).message;
  const metadata = { path };
  switch (code) {
    case full:
      return resourceExhausted(
        'STORE_FULL',
        `${path}: no space left; make room and retry`,
        metadata,
      );
    case corrupt:
    case notADatabase:
      return dataLoss('STORE_CORRUPT', `${path}: ${why}; restore it from a copy`, metadata);
    case busy:
    case locked:
      return unavailable('STORE_BUSY', `${path}: in use by another process; retry`, metadata);
    case ioError:
      return unavailable('STORE_IO', `${path}: ${why}; check the disk`, metadata);
    case readOnly:
    case cannotOpen:
      return failedPrecondition('STORE_ACCESS', `${path}: ${why}; check its permissions`, metadata);
    default:
      return internal('STORE_INTERNAL', `${path}: ${why} (SQLite code ${code})`, metadata);
  }
}

import { Code, type RpcError } from '../sdk/errors.ts';

/** What the exit codes of `mano` mean. They are part of the interface: scripts branch on them. */
export const exitCode = {
  ok: 0,
  /** The work was done and its outcome is negative: an operation failed, a check found damage. */
  failed: 1,
  /** The command line or a file named on it is wrong. */
  usage: 2,
  /** Something named does not exist. */
  notFound: 3,
  /** The state of things forbids it now; look at them, then decide. */
  conflict: 4,
  /** The caller may not, or is not known. */
  forbidden: 5,
  /** Nobody answered in time; trying again may help. */
  unavailable: 6,
  /** Stored data is damaged. */
  damaged: 7,
  /** There is no room or no quota. */
  exhausted: 8,
  /** A fault of the program itself. */
  internal: 70,
  /** Interrupted by the user. */
  interrupted: 130,
} as const;

const byCode: Partial<Record<Code, number>> = {
  [Code.CANCELLED]: exitCode.interrupted,
  [Code.INVALID_ARGUMENT]: exitCode.usage,
  [Code.OUT_OF_RANGE]: exitCode.usage,
  [Code.NOT_FOUND]: exitCode.notFound,
  [Code.ALREADY_EXISTS]: exitCode.conflict,
  [Code.FAILED_PRECONDITION]: exitCode.conflict,
  [Code.ABORTED]: exitCode.conflict,
  [Code.PERMISSION_DENIED]: exitCode.forbidden,
  [Code.UNAUTHENTICATED]: exitCode.forbidden,
  [Code.UNAVAILABLE]: exitCode.unavailable,
  [Code.DEADLINE_EXCEEDED]: exitCode.unavailable,
  [Code.DATA_LOSS]: exitCode.damaged,
  [Code.RESOURCE_EXHAUSTED]: exitCode.exhausted,
};

/** The exit code for an error. */
export function exitCodeOf(error: RpcError): number {
  return byCode[error.code] ?? exitCode.internal;
}

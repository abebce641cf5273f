/** The errors of the store that more than one file makes. */
import {
  aborted,
  dataLoss,
  failedPrecondition,
  notFound,
  type RpcError,
} from '../../../sdk/errors.ts';
import { formatVersion } from './limits.ts';

/** Bytes of an object are not what they must be. `offset` is in the object, in bytes. */
export function objectDamaged(path: string, offset: number, problem: string): RpcError {
  return dataLoss('OBJECT_DAMAGED', `${path}: at byte ${offset}: ${problem}`, {
    path,
    offset: String(offset),
    problem,
  });
}

/** An object that something refers to is not there. */
export function objectMissing(path: string): RpcError {
  return dataLoss('OBJECT_MISSING', `${path} does not exist, though something refers to it`, {
    path,
  });
}

/** A later version wrote this object. */
export function formatTooNew(path: string, version: number, versionMax = formatVersion): RpcError {
  const text =
    `${path} has format version ${version}; this program reads up to ${versionMax}: use a ` +
    'newer one';
  return failedPrecondition('FORMAT_TOO_NEW', text, {
    path,
    version: String(version),
    supported: String(versionMax),
  });
}

export function packageNotFound(packageId: string): RpcError {
  return notFound('PACKAGE_UNKNOWN', `there is no package "${packageId}"`, { packageId });
}

/** The lease was taken away because its term had passed: what was being written is gone. */
export function leaseLost(leaseId: string): RpcError {
  const text = `the lease ${leaseId} expired before the work was published: try again`;
  return aborted('LEASE_LOST', text, { leaseId });
}

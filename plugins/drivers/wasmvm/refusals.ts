import {
  alreadyExists,
  failedPrecondition,
  invalidArgument,
  type RpcError,
  resourceExhausted,
  unimplemented,
} from '../../../sdk/errors.ts';

/** The id belongs to something that was made by another request. */
export function idReused(kind: string, id: string): RpcError {
  const text = `${kind} ${id} exists and was made by another request; choose another id`;
  return alreadyExists('ID_REUSED', text, { [`${kind}_id`]: id });
}

/** The state of the compute resource forbids it. */
export function computeState(computeId: string, state: string, what: string): RpcError {
  const text = `compute ${computeId} is ${state}: ${what}`;
  return failedPrecondition('COMPUTE_STATE', text, { compute_id: computeId, state });
}

export function capabilityMissing(capability: string, text: string): RpcError {
  return unimplemented('CAPABILITY_MISSING', text, { capability });
}

export function tooMany(kind: string, limit: number): RpcError {
  const text = `the driver has ${limit} ${kind} already; delete some`;
  return resourceExhausted('TOO_MANY', text, { kind, limit: String(limit) });
}

/** A field has a value that no request may have. */
export function badField(field: string, description: string): RpcError {
  const text = `${field} ${description}`;
  return invalidArgument('FIELD_VIOLATION', text, { field }, [{ field, description }]);
}

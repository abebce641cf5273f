import {
  type DescMessage,
  type JsonObject,
  type MessageShape,
  toBinary,
  toJson,
} from '@bufbuild/protobuf';
import type { Transaction } from '../../../sdk/records/record-store.ts';
import type { IdempotentRequest } from '../../../sdk/request-ids.ts';
import type { HandlerContext } from '../../../sdk/server.ts';
import { ownCallerName } from '../automation/own-operations.ts';
import { type ProcedureInput, setInProgress } from '../procedures/define.ts';
import { acquire } from '../usage.ts';
import type { VnfmServices } from '../vnfm.ts';

type Repeatable = { requestId: string };

/** A mutating request as the store of request ids knows it. */
export function idempotent<Desc extends DescMessage>(
  schema: Desc,
  request: MessageShape<Desc> & Repeatable,
  { caller }: HandlerContext,
): IdempotentRequest {
  return {
    id: request.requestId,
    method: schema.typeName,
    body: toBinary(schema, request),
    caller: `${caller.role}/${caller.identity}`,
  };
}

/**
 * The operation that a request has started before, if it is a repeat. ALREADY_EXISTS,
 * REQUEST_ID_REUSED.
 */
export async function startedBefore(
  vnfm: VnfmServices,
  request: IdempotentRequest,
): Promise<string | undefined> {
  return (await vnfm.requests.earlier(vnfm.store, request)) as string | undefined;
}

/** What an operation is started with. */
export type Start<Input extends ProcedureInput & JsonObject> = {
  definition: string;
  input: Input;
  /** At most one unfinished operation has it. */
  key?: string;
  vnfInstanceId?: string;
  vnfSnapshotInfoId?: string;
  vnfSnapshotPkgId?: string;
  request: IdempotentRequest;
  params: JsonObject;
  /**
   * Further conditions and records, in the transaction that accepts the operation and takes what it
   * uses.
   */
  record?: (tx: Transaction, operationId: string) => Promise<void>;
};

/** Accepts an operation: it is durable when this returns, and goes on in the background. */
export async function startOperation<Input extends ProcedureInput & JsonObject>(
  vnfm: VnfmServices,
  start: Start<Input>,
): Promise<string> {
  const { record, input, ...rest } = start;
  const isAutomaticInvocation = start.request.caller === ownCallerName;
  const { id } = await vnfm.engine.accept({
    ...rest,
    isAutomaticInvocation,
    input,
    record: async (tx, operationId) => {
      await acquire(tx, input.uses, operationId);
      await record?.(tx, operationId);
      await setInProgress(tx, input.uses, operationId);
    },
  });
  return id;
}

/** A request as it is shown in its occurrence. */
export function paramsOf<Desc extends DescMessage>(
  schema: Desc,
  request: MessageShape<Desc>,
): JsonObject {
  return toJson(schema, request) as JsonObject;
}

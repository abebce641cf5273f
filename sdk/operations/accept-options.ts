import type { JsonObject, JsonValue } from '@bufbuild/protobuf';
import type { Transaction } from '../records/record-store.ts';
import type { IdempotentRequest } from '../request-ids.ts';

/** What `accept` is given. */
export type AcceptOptions = {
  /** The name of the definition. */
  readonly definition: string;
  /** What the steps get: JSON, so that it is the same after a restart. */
  readonly input: JsonValue;
  /** At most one unfinished operation has a key, for example the id of a VNF instance; several keys: of each. */
  readonly key?: string | readonly string[];
  /** The id of the operation. Default: a new UUID. */
  readonly id?: string;
  readonly vnfInstanceId?: string;
  readonly vnfSnapshotInfoId?: string;
  readonly vnfSnapshotPkgId?: string;
  readonly isAutomaticInvocation?: boolean;
  /** The request as JSON of its message, for the occurrence. No secrets. */
  readonly params?: JsonObject;
  /** A repeat with the same id and body gets the first operation's id. */
  readonly request?: IdempotentRequest;
  /** The caller's own records, in the same transaction. When it throws, nothing was accepted. */
  readonly record?: (tx: Transaction, operationId: string) => Promise<void>;
};

import { clone } from '@bufbuild/protobuf';
import {
  type LifecycleOperationOccurrence,
  LifecycleOperationOccurrenceSchema,
} from '../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import {
  CancelMode,
  OperationOccurrenceService,
} from '../../gen/nfv/operation/v1/operation_occurrence_service_pb.js';
import { parseFilter } from '../filter.ts';
import { decodePageToken, encodePageToken, pageSizeOf } from '../pagination.ts';
import { implement, type ServiceImplementation } from '../server.ts';
import type { OperationEngine } from './engine.ts';

const listQuery = 'nfv.operation.v1.ListLifecycleOperationOccurrences';

/** Serves nfv.operation.v1.OperationOccurrenceService from an engine; its proto states the errors. */
export function operationOccurrenceService(engine: OperationEngine): ServiceImplementation {
  return implement(OperationOccurrenceService, {
    getLifecycleOperationOccurrence: async (request) => ({
      occurrence: await engine.get(request.lifecycleOperationOccurrenceId),
    }),
    listLifecycleOperationOccurrences: (request) => list(engine, request),
    watchLifecycleOperationOccurrence: (request, { signal }) => watch(engine, request, signal),
    watchLifecycleOperationOccurrences: (request, { signal }) => watchAll(engine, request, signal),
    retryLifecycleOperation: async (request) => {
      await engine.retry(request.lifecycleOperationOccurrenceId);
      return {};
    },
    rollbackLifecycleOperation: async (request) => {
      await engine.rollBack(request.lifecycleOperationOccurrenceId);
      return {};
    },
    failLifecycleOperation: async (request) => ({
      occurrence: await engine.fail(request.lifecycleOperationOccurrenceId),
    }),
    cancelLifecycleOperation: async (request) => {
      const forceful = request.cancelMode === CancelMode.FORCEFUL;
      await engine.cancel(
        request.lifecycleOperationOccurrenceId,
        forceful ? 'forceful' : 'graceful',
      );
      return {};
    },
  });
}

async function* watch(
  engine: OperationEngine,
  request: { lifecycleOperationOccurrenceId: string; afterRevision: bigint },
  signal: AbortSignal,
) {
  const { lifecycleOperationOccurrenceId: id, afterRevision } = request;
  for await (const occurrence of engine.watch(id, { afterRevision, signal })) yield { occurrence };
}

async function* watchAll(
  engine: OperationEngine,
  { filter }: { filter: string },
  signal: AbortSignal,
) {
  const matches = parseFilter(LifecycleOperationOccurrenceSchema, filter);
  for await (const occurrence of engine.watchAll(signal)) {
    if (occurrence === undefined) yield {};
    else if (matches(occurrence)) yield { occurrence };
  }
}

async function list(
  engine: OperationEngine,
  request: { filter: string; pageSize: number; pageToken: string },
) {
  const { filter, pageToken } = request;
  const size = pageSizeOf(request.pageSize);
  const matches = parseFilter(LifecycleOperationOccurrenceSchema, filter);
  const query = [listQuery, filter];
  const found: LifecycleOperationOccurrence[] = [];
  let after = decodePageToken(query, pageToken);
  // Ends: the engine keeps a bounded number of occurrences. Each page asks for what is missing, so that
  // the store's cursor is exactly behind the last one found.
  do {
    const page = await engine.list({
      limit: size - found.length,
      ...(after !== undefined && { after }),
    });
    found.push(...page.records.map(({ value }) => value).filter(matches));
    after = page.next;
  } while (after !== undefined && found.length < size);
  const nextPageToken = after === undefined ? '' : encodePageToken(query, after);
  return { occurrences: found.map(withoutSteps), nextPageToken };
}

function withoutSteps(occurrence: LifecycleOperationOccurrence): LifecycleOperationOccurrence {
  const copy = clone(LifecycleOperationOccurrenceSchema, { ...occurrence, steps: [] });
  return copy;
}

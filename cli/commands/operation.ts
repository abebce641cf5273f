import { timestampDate, timestampMs } from '@bufbuild/protobuf/wkt';
import type { Command } from 'commander';
import {
  type LifecycleOperationOccurrence,
  LifecycleOperationOccurrenceSchema,
  OperationState,
  OperationType,
} from '../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import {
  CancelMode,
  OperationOccurrenceService,
} from '../../gen/nfv/operation/v1/operation_occurrence_service_pb.js';
import { asClient, asOperation, type CommonOptions, clientAction } from '../action.ts';
import { messageJson } from '../message-json.ts';
import { printOccurrence, reportOperation } from '../occurrence.ts';
import { formatDuration, printJson, printTable } from '../output.ts';
import type { Session } from '../session.ts';

type WaitOptions = CommonOptions & { wait: boolean };

/** Operations are followed as the element manager, which may follow all of them. */
export function operations(session: Session) {
  return session.client(OperationOccurrenceService, 'em');
}

export function operationCommand(program: Command): void {
  const operation = program
    .command('operation')
    .description('follow and steer lifecycle operation occurrences');

  asClient(operation.command('list'))
    .description('list operations, newest first')
    .option('--filter <filter>', 'ETSI attribute filter, for example "(eq,vnf_instance_id,vnf-1)"')
    .action(
      clientAction<CommonOptions & { filter?: string }>(async (session, options) => {
        const { occurrences } = await operations(session).listLifecycleOperationOccurrences({
          filter: options.filter ?? '',
        });
        if (options.json) {
          // Steps are not listed, which is not the same as that there are none.
          const list = occurrences.map((item) => {
            const shown = messageJson(LifecycleOperationOccurrenceSchema, item) as object;
            return { ...shown, steps: undefined };
          });
          return printJson({ operations: list });
        }
        printTable(
          ['ID', 'OPERATION', 'STATE', 'VNF', 'STARTED', 'TOOK'],
          occurrences.map((item) => [
            item.id,
            OperationType[item.operation],
            OperationState[item.operationState],
            item.vnfInstanceId,
            item.startTime ? timestampDate(item.startTime).toISOString() : '',
            took(item),
          ]),
        );
      }),
    );

  asClient(operation.command('show <id>'))
    .description('show one operation with its sequence of calls')
    .action(
      clientAction(async (session, options, id) => {
        const { occurrence } = await operations(session).getLifecycleOperationOccurrence({
          lifecycleOperationOccurrenceId: id!,
        });
        if (options.json) {
          printJson({ operation: messageJson(LifecycleOperationOccurrenceSchema, occurrence!) });
        } else printOccurrence(occurrence!);
      }),
    );

  asClient(operation.command('watch [id]'))
    .description(
      'follow an operation to its end (exit code 0 when it completed), or all until interrupted',
    )
    .option('--filter <filter>', 'of all: ETSI attribute filter')
    .action(
      clientAction<CommonOptions & { filter?: string }>((session, options, id) => {
        const json = options.json === true;
        if (id === undefined) return watchAll(session, options.filter ?? '', json);
        return reportOperation(operations(session), id, { json, wait: true });
      }),
    );

  steering(
    operation,
    'retry',
    OperationState.COMPLETED,
    'go on with an operation in FAILED_TEMP at the step that failed',
    (api, id) => api.retryLifecycleOperation({ lifecycleOperationOccurrenceId: id }),
  );
  steering(
    operation,
    'rollback',
    OperationState.ROLLED_BACK,
    'undo an operation in FAILED_TEMP',
    (api, id) => api.rollbackLifecycleOperation({ lifecycleOperationOccurrenceId: id }),
  );
  steering(
    operation,
    'fail',
    OperationState.FAILED,
    'give up an operation in FAILED_TEMP',
    (api, id) => api.failLifecycleOperation({ lifecycleOperationOccurrenceId: id }),
  );
  steering(
    operation,
    'cancel',
    OperationState.ROLLED_BACK,
    'stop a running operation and undo it',
    (api, id, options) =>
      api.cancelLifecycleOperation({
        lifecycleOperationOccurrenceId: id,
        cancelMode: options.force ? CancelMode.FORCEFUL : CancelMode.GRACEFUL,
      }),
  ).option('--force', 'interrupt the running step');
}

/** A line for each change of state of any operation. */
async function watchAll(session: Session, filter: string, json: boolean): Promise<void> {
  for await (const { occurrence } of operations(session).watchLifecycleOperationOccurrences({
    filter,
  })) {
    if (occurrence === undefined) {
      if (!json) process.stderr.write('watching; interrupt to end\n');
    } else if (json) {
      const shown = messageJson(LifecycleOperationOccurrenceSchema, occurrence) as object;
      printJson({ operation: { ...shown, steps: undefined } });
    } else {
      const { id, operation, operationState, vnfInstanceId, isAutomaticInvocation } = occurrence;
      const by = isAutomaticInvocation ? ' (by the VNFM itself)' : '';
      const what = `${OperationType[operation]} ${OperationState[operationState]}`;
      process.stdout.write(`${id}  ${what}  ${vnfInstanceId}${by}\n`);
    }
  }
}

function took({ startTime, endTime }: LifecycleOperationOccurrence): string {
  return startTime && endTime ? formatDuration(timestampMs(endTime) - timestampMs(startTime)) : '';
}

type SteeringOptions = WaitOptions & { force?: boolean };

/** A command that steers an operation; `wanted` is the state that it is meant to lead to. */
function steering(
  parent: Command,
  name: string,
  wanted: OperationState,
  description: string,
  call: (
    api: ReturnType<typeof operations>,
    id: string,
    options: SteeringOptions,
  ) => Promise<unknown>,
): Command {
  return asOperation(parent.command(`${name} <id>`))
    .description(description)
    .action(
      clientAction<SteeringOptions>(async (session, options, id) => {
        const api = operations(session);
        await call(api, id!, options);
        return reportOperation(api, id!, {
          json: options.json === true,
          wait: options.wait,
          wanted,
        });
      }),
    );
}

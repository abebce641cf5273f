import { timestampDate } from '@bufbuild/protobuf/wkt';
import type { Command } from 'commander';
import {
  GrantSchema,
  PendingGrantSchema,
  VnfLifecycleOperationGrantingService,
} from '../../gen/nfv/grant/v1/grant_pb.js';
import { OperationType } from '../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { asClient, type CommonOptions, clientAction } from '../action.ts';
import { messageJson } from '../message-json.ts';
import { printFields, printJson, printTable } from '../output.ts';
import type { Session } from '../session.ts';

/** Grants as the OSS/BSS sees them. */
function granting(session: Session) {
  return session.client(VnfLifecycleOperationGrantingService, 'oss');
}

export function grantCommand(program: Command): void {
  const grant = program
    .command('grant')
    .description('what the NFVO grants, and requests that wait for a person');

  asClient(grant.command('list'))
    .description('requests that wait for a decision, oldest first')
    .action(
      clientAction(async (session, options) => {
        const { pendingGrants } = await granting(session).listPendingGrants({});
        if (options.json) {
          const list = pendingGrants.map((item) => messageJson(PendingGrantSchema, item));
          return printJson({ pendingGrants: list });
        }
        printTable(
          ['ID', 'OPERATION', 'VNF', 'SINCE', 'WHY'],
          pendingGrants.map(({ id, grantRequest, requestTime, reason }) => [
            id,
            OperationType[grantRequest?.operation ?? 0] ?? '',
            grantRequest?.vnfInstanceId ?? '',
            requestTime ? timestampDate(requestTime).toISOString() : '',
            reason,
          ]),
        );
      }),
    );

  asClient(grant.command('show <grant>'))
    .description('a grant, and what was done under it in indirect mode')
    .action(
      clientAction(async (session, options, grantId) => {
        const { grant: found } = await granting(session).getGrant({ grantId: grantId! });
        if (options.json) return printJson({ grant: messageJson(GrantSchema, found!) });
        const { id, vnfInstanceId, vnfLcmOpOccId, operation, rule, resourceCalls } = found!;
        printFields({
          ...{ id, vnf: vnfInstanceId, operation: vnfLcmOpOccId },
          ...{ kind: OperationType[operation], rule, calls: String(resourceCalls.length) },
        });
        for (const { method, resourceId, refusedBy } of resourceCalls) {
          const refused = refusedBy === '' ? '' : `  refused by ${refusedBy}`;
          process.stdout.write(`  ${method} ${resourceId}${refused}\n`);
        }
      }),
    );

  for (const [name, granted] of [
    ['approve', true],
    ['refuse', false],
  ] as const) {
    asClient(grant.command(`${name} <id>`))
      .description(`${name} a request that waits`)
      .option('--reason <text>', 'why, for whoever asked')
      .action(
        clientAction<CommonOptions & { reason?: string }>(async (session, options, id) => {
          const reason = options.reason ?? '';
          await granting(session).decideGrant({ pendingGrantId: id!, granted, reason });
          if (options.json) printJson({ decided: id, granted });
        }),
      );
  }
}

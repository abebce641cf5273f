import { timestampDate } from '@bufbuild/protobuf/wkt';
import type { Command } from 'commander';
import {
  VnfIndicatorSchema,
  VnfIndicatorService,
} from '../../gen/nfv/vnf_indicator/v1/vnf_indicator_pb.js';
import { HealAction } from '../../gen/nfv/vnf_lcm/v1/vnf_lcm_service_pb.js';
import { invalidArgument } from '../../sdk/errors.ts';
import { asClient, asOperation, type CommonOptions, clientAction } from '../action.ts';
import { messageJson } from '../message-json.ts';
import { reportOperation } from '../occurrence.ts';
import { printJson, printTable } from '../output.ts';
import type { Session } from '../session.ts';
import { operations } from './operation.ts';
import { findVnf, lifeCycle } from './vnf.ts';

type HealOptions = CommonOptions & {
  wait: boolean;
  action: string;
  cause?: string;
  vnfc?: string[];
  snapshotBefore?: boolean;
};

const actions: Readonly<Record<string, HealAction>> = {
  decide: HealAction.UNSPECIFIED,
  restart: HealAction.RESTART,
  revert: HealAction.REVERT,
  snapshot: HealAction.SNAPSHOT,
};

/** Healing a VNF, and what it says of itself. */
export function healthCommands(vnf: Command): void {
  asOperation(vnf.command('heal <vnf>'))
    .description('look at a VNF and do what it needs, which may be nothing')
    .option(
      '--action <what>',
      'decide; restart: its components; revert: to its newest snapshot; snapshot: for root cause analysis',
      'decide',
    )
    .option('--cause <text>', 'why, for people')
    .option('--vnfc <ids...>', 'only these VNFC instances; default: those at fault, or all')
    .option(
      '--snapshot-before',
      'take a snapshot before a restart, and go back to it when it fails',
    )
    .action(
      clientAction<HealOptions>(async (session, options, idOrName) => {
        const { id } = await findVnf(session, idOrName!);
        const started = await lifeCycle(session).healVnf({
          vnfInstanceId: id,
          action: healAction(options.action),
          cause: options.cause ?? '',
          vnfcInstanceIds: options.vnfc ?? [],
          snapshotBefore: options.snapshotBefore === true,
        });
        return reportOperation(operations(session), started.lifecycleOperationOccurrenceId, {
          json: options.json === true,
          wait: options.wait,
        });
      }),
    );

  const indicator = vnf.command('indicator').description('what a VNF says of itself');
  asClient(indicator.command('list <vnf>'))
    .description('the last values of its indicators')
    .action(
      clientAction(async (session, options, idOrName) => {
        const { id } = await findVnf(session, idOrName!);
        const { vnfIndicators } = await indicators(session).queryVnfIndicators({
          vnfInstanceId: id,
        });
        if (options.json) {
          const list = vnfIndicators.map((item) => messageJson(VnfIndicatorSchema, item));
          return printJson({ indicators: list });
        }
        printTable(
          ['ID', 'VALUE', 'REPORTED', 'DETAIL'],
          vnfIndicators.map(({ id, value, detail, reportTime }) => [
            ...[id, value, reportTime ? timestampDate(reportTime).toISOString() : '', detail],
          ]),
        );
      }),
    );
  asClient(indicator.command('report <vnf> <id> <value>'))
    .description('report as the element manager, for example: health degraded')
    .option('--detail <text>', 'why, for people')
    .action(
      clientAction<CommonOptions & { detail?: string }>(
        async (session, options, idOrName, id, value) => {
          const { id: vnfInstanceId } = await findVnf(session, idOrName!);
          const vnfIndicator = { id: id!, value: value!, detail: options.detail ?? '' };
          await indicators(session).notifyVnfIndicatorValueChange({ vnfInstanceId, vnfIndicator });
          if (options.json) printJson({ reported: id });
        },
      ),
    );
}

function indicators(session: Session) {
  return session.client(VnfIndicatorService, 'em');
}

function healAction(text: string): HealAction {
  const action = actions[text];
  if (action !== undefined) return action;
  throw invalidArgument('USAGE', `--action "${text}": must be ${Object.keys(actions).join(', ')}`);
}

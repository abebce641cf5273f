import { CapabilityName } from '../gen/nfv/driver/v1/driver_pb.js';
import {
  type PlannedFallback,
  type SnapshotPlan,
  SnapshotPlanSchema,
} from '../gen/nfv/vnf_lcm/v1/plan_pb.js';
import { ConsistencyPolicy } from '../gen/nfv/vnfd/v1/vnfd_pb.js';
import { exitCode } from './exit-codes.ts';
import { messageJson } from './message-json.ts';
import { printJson, printTable } from './output.ts';
import { stepLine } from './steps.ts';

/** Prints what an operation would do. The exit code is that of a failed operation when the policy would end it. */
export function showPlan(plan: SnapshotPlan, json: boolean): number {
  const code = plan.fallbacks.every(({ allowed }) => allowed) ? exitCode.ok : exitCode.failed;
  if (json) {
    printJson({ plan: messageJson(SnapshotPlanSchema, plan) });
    return code;
  }
  const print = (line: string) => process.stdout.write(`${line}\n`);
  print(`consistency: ${ConsistencyPolicy[plan.consistency]}`);
  for (const step of plan.steps) print(stepLine(step));
  print('');
  printTable(
    ['VNFC', 'NOW', 'MEMORY', 'DISKS', 'FREEZE', 'TECHNIQUES', 'SAFETY'],
    plan.vnfcs.map((vnfc) => [
      vnfc.vnfcInstanceId,
      vnfc.running ? 'running' : 'not running',
      vnfc.memory ? 'yes' : 'no',
      vnfc.disks.join(' '),
      vnfc.freeze ? 'yes' : 'no',
      vnfc.techniques.map((name) => CapabilityName[name]).join(' '),
      vnfc.safety,
    ]),
  );
  for (const { vnfcInstanceId, detached, attached, movedTo } of plan.vnfcs) {
    if (movedTo !== '') print(`moves to host ${movedTo}: ${vnfcInstanceId}`);
    if (detached.length > 0) print(`detached before: ${vnfcInstanceId}: ${detached.join(' ')}`);
    if (attached.length > 0) print(`attached after: ${vnfcInstanceId}: ${attached.join(' ')}`);
  }
  for (const text of plan.excluded) print(`left out: ${text}`);
  for (const fallback of plan.fallbacks) print(fallbackLine(fallback));
  return code;
}

function fallbackLine({ vnfcInstanceId, what, reason, instead, allowed }: PlannedFallback): string {
  const who = vnfcInstanceId === '' ? '' : `${vnfcInstanceId}: `;
  const then = allowed ? instead : `not allowed to do without: it would fail (${instead})`;
  return `not possible: ${who}${what}: ${reason}; ${then}`;
}

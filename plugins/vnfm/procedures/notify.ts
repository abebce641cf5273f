import type { JsonValue } from '@bufbuild/protobuf';
import { timestampMs } from '@bufbuild/protobuf/wkt';
import { StepState } from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { NotificationType } from '../../../gen/nfv/vnf_snapshot_notification/v1/vnf_snapshot_notification_pb.js';
import { aborted, deadlineExceeded, failedPrecondition } from '../../../sdk/errors.ts';
import type { Step, StepContext } from '../../../sdk/operations/engine.ts';
import { generationOf } from '../generation.ts';
import { timeOf } from '../notification/hub.ts';
import type { Vnfm } from '../vnfm.ts';
import { stepRecord } from './define.ts';

/** Time for the answer to travel, on top of what the VNF was given. */
const graceMs = 5_000;

/** What a VNF is told, and how much its answer matters. */
export type NotificationPlan = {
  vnfInstanceId: string;
  vnfcInstanceIds: string[];
  /** How long the VNF may take to answer. */
  answerMs: number;
  /** How long after that it has to keep its promise before it may go on by itself. */
  promiseMs: number;
  /** Without its word the operation fails. */
  required: boolean;
};

/** The VNF's word. */
export type Promised = { confirmed: boolean; reason: string; untilMs: number };

const startName = 'notify start';
const startId = (operationId: string) => `${operationId}.start`;

type Kind = {
  clause: string;
  startStep: string;
  endStep: string;
  types: [NotificationType, NotificationType];
};

/** Around a creation: 6.5.1 steps 5 to 7 and 10 to 12. */
export const creation: Kind = {
  clause: '6.5.1',
  startStep: '5',
  endStep: '10',
  types: [NotificationType.SNAPSHOT_CREATION_START, NotificationType.SNAPSHOT_CREATION_END],
};

/** Around a reversion: 6.5.2 steps 5 to 7 and 9 to 11. */
export const reversion: Kind = {
  clause: '6.5.2',
  startStep: '5',
  endStep: '9',
  types: [NotificationType.SNAPSHOT_REVERSION_START, NotificationType.SNAPSHOT_REVERSION_END],
};

/**
 * Tells the VNF that a snapshot or reversion is coming and waits for its answer. Whatever happens
 * later, the VNF hears of the end: when the operation is undone, the compensation tells it.
 */
export function notifyStart<Input extends JsonValue>(
  vnfm: Vnfm,
  kind: Kind,
  plan: NotificationPlan,
): Step<Input> {
  return {
    name: startName,
    clause: kind.clause,
    clauseStep: kind.startStep,
    caller: 'vnfm',
    callee: 'vnf',
    phase: 'prepare',
    deadlineMs: plan.answerMs + graceMs,
    run: (context) => askVnf(vnfm, kind, plan, context),
    compensate: async (context) => {
      await vnfm.hub.close(startId(context.operationId));
      await vnfm.hub.send({
        ...(await endOf(vnfm, kind, plan, context.operationId)),
        notificationId: `${context.operationId}.undone`,
        success: false,
      });
    },
  };
}

async function askVnf(
  vnfm: Vnfm,
  kind: Kind,
  plan: NotificationPlan,
  context: StepContext,
): Promise<Promised> {
  const { hub, clock } = vnfm;
  const { operationId } = context;
  if (!hub.isReachable(plan.vnfInstanceId)) {
    const text = `VNF "${plan.vnfInstanceId}" has no notification stream open`;
    if (plan.required) {
      throw failedPrecondition(
        'VNF_NOT_REACHABLE',
        `${text}; let it watch, or ask for less consistency`,
        {
          vnf_instance_id: plan.vnfInstanceId,
        },
      );
    }
    context.skip(`VNF_NOT_REACHABLE: ${text}`);
  }
  await hub.forget(plan.vnfInstanceId, operationId);
  const nowMs = clock.now().getTime();
  const sent = await hub.send({
    notificationId: startId(operationId),
    vnfInstanceId: plan.vnfInstanceId,
    type: kind.types[0],
    vnfLcmOpOccId: operationId,
    affectedVnfcInstanceIds: plan.vnfcInstanceIds,
    responseDeadline: timeOf(nowMs + plan.answerMs),
    resumeDeadline: timeOf(nowMs + plan.answerMs + plan.promiseMs),
  });
  const answer = await hub.answerTo(sent, context.signal);
  if (answer?.result === 'abort') throw veto(answer.detail);
  const untilMs = sent.resumeDeadline ? timestampMs(sent.resumeDeadline) : nowMs;
  if (answer) {
    if (answer.detail !== '') context.note(answer.detail);
    return { confirmed: true, reason: '', untilMs };
  }
  await hub.close(startId(operationId));
  const text = `VNF "${plan.vnfInstanceId}" did not answer within ${plan.answerMs} ms`;
  if (plan.required) {
    throw deadlineExceeded('VNF_NOT_RESPONDING', text, { vnf_instance_id: plan.vnfInstanceId });
  }
  context.note(`VNF_NOT_RESPONDING: ${text}`);
  return { confirmed: false, reason: text, untilMs };
}

/**
 * Tells the VNF of the end and waits for its answer; that it is silent changes nothing any more.
 */
export function notifyEnd<Input extends JsonValue>(
  vnfm: Vnfm,
  kind: Kind,
  plan: NotificationPlan,
  options: { irreversible?: boolean } = {},
): Step<Input> {
  return {
    name: 'notify end',
    clause: kind.clause,
    clauseStep: kind.endStep,
    caller: 'vnfm',
    callee: 'vnf',
    phase: 'resume',
    deadlineMs: plan.answerMs + graceMs,
    ...options,
    run: async (context) => {
      const started = stepRecord(context, startName)?.state === StepState.DONE;
      if (!started && !vnfm.hub.isReachable(plan.vnfInstanceId)) {
        context.skip('the VNF was not told of the start and has no stream open');
      }
      await vnfm.hub.close(startId(context.operationId));
      const sent = await vnfm.hub.send({
        ...(await endOf(vnfm, kind, plan, context.operationId)),
        notificationId: `${context.operationId}.end`,
        success: true,
      });
      const answer = await vnfm.hub.answerTo(sent, context.signal);
      if (!answer) context.warn('the VNF did not answer the notification of the end');
      if (answer?.result === 'abort') context.warn(`the VNF has not resumed: ${answer.detail}`);
    },
  };
}

async function endOf(vnfm: Vnfm, kind: Kind, plan: NotificationPlan, operationId: string) {
  const nowMs = vnfm.clock.now().getTime();
  return {
    vnfInstanceId: plan.vnfInstanceId,
    type: kind.types[1],
    vnfLcmOpOccId: operationId,
    affectedVnfcInstanceIds: plan.vnfcInstanceIds,
    responseDeadline: timeOf(nowMs + plan.answerMs),
    resumeDeadline: timeOf(nowMs),
    generationId: await generationOf(vnfm.store, plan.vnfInstanceId),
  };
}

/**
 * Before components are frozen or held: the VNF may have vetoed late, or may have gone on by
 * itself.
 */
export async function checkPromise(vnfm: Vnfm, context: StepContext): Promise<void> {
  const promised = context.outputIfDone<Promised>(startName);
  if (!promised) return;
  const answer = await vnfm.hub.given(startId(context.operationId));
  if (answer?.result === 'abort') throw veto(answer.detail);
  if (!promised.confirmed || vnfm.clock.now().getTime() <= promised.untilMs) return;
  const text = 'the time is over for which the VNF promised to stay prepared; start again';
  throw aborted('VNF_PROMISE_EXPIRED', text);
}

/** The VNF's word, for the record: it counts if it lasted until the last capture. */
export function wordOf(
  context: StepContext,
  lastCaptureMs: number,
): { confirmed: boolean; reason: string } {
  const promised = context.outputIfDone<Promised>(startName);
  if (!promised) {
    return {
      confirmed: false,
      reason: stepRecord(context, startName)?.note ?? 'the VNF was not asked',
    };
  }
  if (!promised.confirmed) return { confirmed: false, reason: promised.reason };
  if (lastCaptureMs <= promised.untilMs) return { confirmed: true, reason: '' };
  return { confirmed: false, reason: "the VNF's promise ended before the last capture" };
}

function veto(detail: string) {
  const text = `the VNF says that it must not happen now: ${detail || 'no reason given'}`;
  return failedPrecondition('VNF_VETO', text, { detail });
}

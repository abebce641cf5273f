/**
 * Revert to VNF snapshot: GR NFV-TST 005 clause 6.5.2, by its step numbers, with 6.4.3 for each
 * VNFC inside, in phases.
 */
import {
  OperationState,
  OperationType,
} from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { VnfState } from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { failedPrecondition } from '../../../sdk/errors.ts';
import type { OperationDefinition, PlanItem, Step } from '../../../sdk/operations/engine.ts';
import type { Transaction } from '../../../sdk/records/record-store.ts';
import { beginGeneration } from '../generation.ts';
import { forgetThaw, rememberThaw } from '../late-thaw.ts';
import { loadedOf } from '../plan/host-plan.ts';
import type { Move } from '../plan/hosts.ts';
import type { RevertPlan } from '../plan/revert-plan.ts';
import { isAlive } from '../plan/situation.ts';
import { changeRecord, vnfInstances } from '../records.ts';
import type { Use } from '../usage.ts';
import type { Vnfm } from '../vnfm.ts';
import { allocateAll, type ChosenHost } from './allocate.ts';
import { notAvailable } from './availability.ts';
import { carrySteps, dropCopiesStep } from './carry.ts';
import { defineProcedure } from './define.ts';
import { grantStep } from './grant.ts';
import { endLeft, recordMove } from './move.ts';
import { type NotificationPlan, notifyEnd, notifyStart, reversion } from './notify.ts';
import { phase } from './phases.ts';
import {
  releaseStep,
  revertStep,
  startStep,
  stopStep,
  thawStep,
} from './revert-to-vnfc-snapshot.ts';
import { loadedHoldMs, type VnfcRevert } from './revert-work.ts';
import {
  deleteSafetyStep,
  guardStep,
  holdPresentStep,
  safetyStep,
  togetherStep,
} from './safety-snapshot.ts';
import { attachStep, detachStep } from './volumes.ts';

export const revertToVnfSnapshotName = 'revert-to-vnf-snapshot';

/** What the operation is journaled with: all that was decided when it was accepted. */
export type RevertToVnfSnapshotInput = {
  uses: Use[];
  vnfInstanceId: string;
  vnfdId: string;
  vim: string;
  vnfSnapshotInfoId: string;
  safetyId: string;
  withoutSafety: boolean;
  /** Leave components held for this long after they are loaded; 0: they run when all are loaded. */
  holdAfterMs: number;
  prepareTimeoutMs: number;
  holdDeadlineMs: number;
  plan: RevertPlan;
};

type Input = RevertToVnfSnapshotInput;

/**
 * The procedure. After it either every component is at the snapshot, or all are where they were.
 */
export function revertToVnfSnapshot(vnfm: Vnfm): OperationDefinition<Input> {
  return defineProcedure<Input>({
    name: revertToVnfSnapshotName,
    operation: OperationType.REVERT_TO_SNAPSHOT,
    onFailure: 'rollback',
    plan: (input) => [
      check(vnfm, input),
      grantStep(vnfm, { clause: '6.5.2', clauseStep: '3' }, grantRequest),
      ...steps(vnfm, input),
    ],
    ended: async (tx, { to, input, occurrence }) => {
      if (to !== OperationState.COMPLETED) return;
      await thawLater(vnfm, tx, input, occurrence.id);
      const runs = input.plan.vnfcs.some((vnfc) => vnfc.warm || vnfc.startAfter);
      await changeRecord(tx, vnfInstances, input.vnfInstanceId, (vnf) => {
        const info = vnf.instantiatedVnfInfo;
        if (!info) return;
        const isWhole = input.plan.vnfcs.length === info.vnfcResourceInfo.length;
        if (runs) info.vnfState = VnfState.STARTED;
        else if (isWhole) info.vnfState = VnfState.STOPPED;
      });
    },
  });
}

function steps(vnfm: Vnfm, input: Input): PlanItem<Input>[] {
  const { plan, withoutSafety, holdAfterMs } = input;
  const { vnfcs, ordered } = plan;
  const runsOn = holdAfterMs === 0;
  const work: VnfcRevert = {
    vnfm,
    vim: vnfm.peers.vim(input.vim),
    safetyId: input.safetyId,
    withoutSafety,
    runsOn,
    holdMs: runsOn ? loadedHoldMs : holdAfterMs,
  };
  const told = notification(input);
  const { carried = [], move } = plan.hosts ?? {};
  const bringing = { vnfm, vim: work.vim, vnfSnapshotInfoId: input.vnfSnapshotInfoId };
  const after = loadedOf(plan);
  const loaded = after.filter((vnfc) => vnfc.warm);
  return [
    ...carrySteps<Input>(bringing, carried),
    ...(move ? allocateAll<Input>({ vimOf: () => work.vim, host: placeOf(move) }, move) : []),
    ...(plan.notify ? [notifyStart<Input>(vnfm, reversion, told)] : []),
    ...(withoutSafety ? [] : keepPresent(work, input)),
    ...phase(after, ordered, (vnfc) => loadSteps(work, vnfc, presentOf(vnfcs, vnfc))),
    ...phase(runsOn ? loaded : [], ordered, (vnfc) => releaseStep<Input>(work, vnfc, after)),
    ...phase(runsOn ? after : [], ordered, (vnfc): Step<Input>[] => {
      if (vnfc.thaw) return [thawStep(work, vnfc)];
      return vnfc.startAfter ? [startStep(work, vnfc)] : [];
    }),
    newGeneration(vnfm),
    ...(plan.notify ? [notifyEnd<Input>(vnfm, reversion, told, { irreversible: true })] : []),
    ...(withoutSafety ? [] : [deleteSafetyStep<Input>(work, vnfcs)]),
    ...(move ? endLeft<Input>(vnfm, move) : []),
    ...(carried.length > 0 ? [dropCopiesStep<Input>(bringing, carried)] : []),
  ];
}

function placeOf({ host, vnfcs }: Move): ChosenHost {
  return { name: host, kind: vnfcs[0]!.environment };
}

function presentOf(vnfcs: RevertPlan['vnfcs'], { vnfcInstanceId }: RevertPlan['vnfcs'][number]) {
  return vnfcs.find((vnfc) => vnfc.vnfcInstanceId === vnfcInstanceId)!;
}

/** Holds all, then captures all: the states that are kept fit together. */
function keepPresent(work: VnfcRevert, { plan, holdDeadlineMs }: Input): PlanItem<Input>[] {
  const { vnfcs } = plan;
  const running = vnfcs.filter((vnfc) => vnfc.running);
  return [
    guardStep(work, vnfcs),
    ...phase(running, false, (vnfc) => holdPresentStep<Input>(work, vnfc, holdDeadlineMs)),
    ...phase(vnfcs, false, (vnfc) => safetyStep<Input>(work, vnfc)),
    togetherStep<Input>(work, vnfcs),
  ];
}

/** `vnfc` is what is loaded, `present` what was there before: another one when the component moves. */
function loadSteps(
  work: VnfcRevert,
  vnfc: RevertPlan['vnfcs'][number],
  present: RevertPlan['vnfcs'][number],
): Step<Input>[] {
  const { vim } = work;
  const clause = '6.4.3';
  const stops = present.running && (vnfc.moved || !vnfc.warm);
  return [
    ...(stops ? [stopStep<Input>(work, present)] : []),
    ...(vnfc.detach.length > 0 ? [detachStep<Input>(vim, vnfc, { clause, clauseStep: '9' })] : []),
    revertStep(work, vnfc),
    ...(vnfc.attach.length > 0 ? [attachStep<Input>(vim, vnfc, { clause, clauseStep: '21' })] : []),
  ];
}

/** 6.5.2 step 2: the snapshot's data is there, and the components are as the plan was made for. */
function check(vnfm: Vnfm, input: Input): Step<Input> {
  return {
    name: 'check',
    clause: '6.5.2',
    clauseStep: '2',
    caller: 'vnfm',
    callee: 'vim',
    starting: true,
    retryable: true,
    deadlineMs: 60_000,
    run: async (context) => {
      const { compute } = vnfm.peers.vim(input.vim);
      const { vnfcs, untouched } = input.plan;
      const options = { signal: context.signal };
      const snapshotIds = vnfcs.map((vnfc) => vnfc.snapshotId);
      const { snapshots } = await compute.queryVirtualisedComputeResourceSnapshots(
        { snapshotIds },
        options,
      );
      const lost = snapshotIds.find((id) => !snapshots.some((found) => found.snapshotId === id));
      if (lost)
        throw notAvailable(input.vnfSnapshotInfoId, `the VIM does not have "${lost}" any more`);
      const computeIds = vnfcs.map((vnfc) => vnfc.computeId);
      const { queryResult } = await compute.queryVirtualisedComputeResource(
        { computeIds },
        options,
      );
      for (const { vnfcInstanceId, computeId, running } of vnfcs) {
        const found = queryResult.find((candidate) => candidate.computeId === computeId);
        if (found && isAlive(found.state) === running) continue;
        const text = `${vnfcInstanceId} has ${found ? 'started or stopped' : 'gone'} since the request`;
        throw failedPrecondition('COMPONENT_CHANGED', text, { vnfc_instance_id: vnfcInstanceId });
      }
      for (const text of untouched) context.note(text);
    },
  };
}

/**
 * Not in the report: the VNF can tell by a new id that time went back. From here on there is no way
 * back.
 */
function newGeneration(vnfm: Vnfm): Step<Input> {
  return {
    name: 'new generation',
    clause: 'Micromano',
    caller: 'vnfm',
    callee: 'vnfm',
    irreversible: true,
    run: async (context) => {
      const { vnfInstanceId, holdAfterMs, plan } = context.input;
      const move = plan.hosts?.move;
      if (holdAfterMs > 0) context.warn(`components are held for ${holdAfterMs} ms at most`);
      context.withEnd(async (tx) => {
        await beginGeneration(tx, vnfInstanceId, vnfm.random);
        if (move) await recordMove(tx, vnfInstanceId, move);
      });
    },
  };
}

/**
 * Components that are left held come back frozen; when the watchdog lets them run, somebody has to
 * thaw them.
 */
async function thawLater(
  vnfm: Vnfm,
  tx: Transaction,
  input: Input,
  operationId: string,
): Promise<void> {
  const frozen = loadedOf(input.plan).filter((vnfc) => vnfc.thaw);
  if (input.holdAfterMs === 0 || frozen.length === 0) return forgetThaw(tx, input.vnfInstanceId);
  await rememberThaw(tx, input.vnfInstanceId, {
    operationId,
    vim: input.vim,
    computeIds: frozen.map((vnfc) => vnfc.computeId),
    dueMs: vnfm.clock.now().getTime() + input.holdAfterMs,
  });
}

function notification(input: Input): NotificationPlan {
  return {
    vnfInstanceId: input.vnfInstanceId,
    vnfcInstanceIds: input.plan.vnfcs.map((vnfc) => vnfc.vnfcInstanceId),
    answerMs: input.prepareTimeoutMs,
    promiseMs: loadedHoldMs,
    // A VNF that is dead or wrecked must not keep itself from being brought back.
    required: false,
  };
}

function grantRequest(input: Input) {
  const { vnfInstanceId, vnfdId, plan, vnfSnapshotInfoId } = input;
  return {
    vnfInstanceId,
    vnfdId,
    operation: OperationType.REVERT_TO_SNAPSHOT,
    updateResources: plan.vnfcs.map((vnfc) => ({
      id: vnfc.vnfcInstanceId,
      type: 'COMPUTE',
      vduId: vnfc.vduId,
      resourceTemplateId: vnfSnapshotInfoId,
    })),
    ...(plan.hosts?.move && {
      addResources: plan.hosts.move.vnfcs.map(({ vnfcInstanceId: id, vduId }) => ({
        ...{ id, type: 'COMPUTE', vduId },
      })),
      removeResources: plan.hosts.move.left.computes.map(({ vnfcInstanceId: id }) => ({
        ...{ id, type: 'COMPUTE' },
      })),
    }),
  };
}

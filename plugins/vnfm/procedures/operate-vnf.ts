/** Operate VNF: ETSI GS NFV-SOL 003 clause 5.4.10. */
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import { ComputeOperation, StateAfterRevert } from '../../../gen/nfv/driver/v1/driver_pb.js';
import {
  OperationState,
  OperationType,
} from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { ComputeState } from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { VnfState } from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import {
  type OperationDefinition,
  parallel,
  type Step,
  type StepContext,
} from '../../../sdk/operations/engine.ts';
import { rememberPowerOff } from '../automation/power-off-snapshots.ts';
import { forgetThaw } from '../late-thaw.ts';
import { componentLost } from '../plan/situation.ts';
import { changeRecord, vnfInstances } from '../records.ts';
import type { Use } from '../usage.ts';
import type { Vnfm } from '../vnfm.ts';
import { callOf, defineProcedure } from './define.ts';
import { grantStep } from './grant.ts';
import { letGo, thaw } from './phases.ts';

export const operateVnfName = 'operate-vnf';
const operateDeadlineMs = 10 * 60_000;

export type OperateVnfInput = {
  uses: Use[];
  vnfInstanceId: string;
  vnfdId: string;
  vim: string;
  start: boolean;
  graceful: boolean;
  gracefulTimeoutMs: number;
  /** All VNFCs of the VNF are concerned, so that its state changes too. */
  whole: boolean;
  vnfcs: OperatedVnfc[];
  /** Vnfsd.013: of these a snapshot is taken when they are stopped. */
  snapshotAfter: string[];
};

type OperatedVnfc = {
  vnfcInstanceId: string;
  computeId: string;
  /** Vnfsd.014: the instance snapshot that its disks go back to before it is started; empty: none. */
  revertTo: string;
};

type Input = OperateVnfInput;

/** The procedure. A failure waits for a person: what was started or stopped stays so. */
export function operateVnf(vnfm: Vnfm): OperationDefinition<Input> {
  return defineProcedure<Input>({
    name: operateVnfName,
    operation: OperationType.OPERATE,
    onFailure: 'failed-temp',
    plan: (input) => [
      grantStep(
        vnfm,
        { clause: 'Micromano', clauseStep: '' },
        ({ vnfInstanceId, vnfdId, vnfcs }) => ({
          vnfInstanceId,
          vnfdId,
          operation: OperationType.OPERATE,
          updateResources: vnfcs.map(({ vnfcInstanceId: id }) => ({ id, type: 'COMPUTE' })),
        }),
      ),
      parallel(
        input.vnfcs.map((vnfc) => {
          if (!input.start) return stop(vnfm, vnfc);
          return vnfc.revertTo === ''
            ? start(vnfm, vnfc)
            : [revertDisks(vnfm, vnfc), start(vnfm, vnfc)];
        }),
      ),
    ],
    ended: async (tx, { to, input, occurrence }) => {
      if (to !== OperationState.COMPLETED) return;
      if (input.snapshotAfter.length > 0) await rememberPowerOff(tx, occurrence.id, input);
      if (input.whole) await forgetThaw(tx, input.vnfInstanceId);
      await changeRecord(tx, vnfInstances, input.vnfInstanceId, (vnf) => {
        const info = vnf.instantiatedVnfInfo;
        if (!info) return;
        if (input.start) info.vnfState = VnfState.STARTED;
        else if (input.whole) info.vnfState = VnfState.STOPPED;
      });
    },
  });
}

/** Boots a component, or lets one run on that is held after a reversion, and thaws it. */
function start(vnfm: Vnfm, vnfc: Input['vnfcs'][number]): Step<Input> {
  const { computeId } = vnfc;
  return {
    ...header(`start ${vnfc.vnfcInstanceId}`, vnfc),
    run: async (context) => {
      const vim = vnfm.peers.vim(context.input.vim);
      const { queryResult } = await vim.compute.queryVirtualisedComputeResource(
        { computeIds: [computeId] },
        { signal: context.signal },
      );
      const compute = queryResult[0];
      if (!compute) throw componentLost(vnfc.vnfcInstanceId, computeId);
      const { STOPPED, FAILED, PAUSED } = ComputeState;
      if (compute.state === STOPPED || compute.state === FAILED) {
        await operate(vnfm, vnfc, ComputeOperation.START, context);
        return;
      }
      if (compute.hold) await letGo(vim, vnfc, context);
      else if (compute.state === PAUSED)
        await operate(vnfm, vnfc, ComputeOperation.UNPAUSE, context);
      if (compute.quiesced) await thaw(vim, vnfc, '', context, 'thaw');
      else if (!compute.hold && compute.state !== PAUSED) context.skip('it is running already');
    },
  };
}

/** The disks of a component that does not run go back to a snapshot (Vnfsd.014). */
function revertDisks(vnfm: Vnfm, vnfc: OperatedVnfc): Step<Input> {
  const { computeId, revertTo: snapshotId } = vnfc;
  return {
    ...header(`revert ${vnfc.vnfcInstanceId}`, vnfc),
    run: async (context) => {
      const { compute } = vnfm.peers.vim(context.input.vim);
      const { signal } = context;
      const { queryResult } = await compute.queryVirtualisedComputeResource(
        { computeIds: [computeId] },
        { signal },
      );
      const state = queryResult[0]?.state;
      if (state === ComputeState.RUNNING || state === ComputeState.PAUSED) {
        context.skip('it is powered on already');
      }
      await compute.revertVirtualisedComputeResourceToSnapshot(
        { computeId, snapshotId, stateAfter: StateAfterRevert.STOPPED, call: callOf(context) },
        { signal, deadlineMs: operateDeadlineMs },
      );
      context.note(`disks of ${snapshotId}`);
    },
  };
}

function stop(vnfm: Vnfm, vnfc: Input['vnfcs'][number]): Step<Input> {
  return {
    ...header(`stop ${vnfc.vnfcInstanceId}`, vnfc),
    run: (context) => {
      const { STOP_GRACEFUL, STOP_FORCEFUL } = ComputeOperation;
      return operate(vnfm, vnfc, context.input.graceful ? STOP_GRACEFUL : STOP_FORCEFUL, context);
    },
  };
}

async function operate(
  vnfm: Vnfm,
  { computeId }: Input['vnfcs'][number],
  computeOperation: ComputeOperation,
  context: StepContext<Input>,
): Promise<void> {
  const { vim, gracefulTimeoutMs } = context.input;
  await vnfm.peers.vim(vim).compute.operateVirtualisedComputeResource(
    {
      computeId,
      computeOperation,
      gracefulTimeout: durationFromMs(gracefulTimeoutMs),
      call: callOf(context),
    },
    { signal: context.signal, deadlineMs: operateDeadlineMs },
  );
}

function header(name: string, { vnfcInstanceId }: Input['vnfcs'][number]) {
  return {
    name,
    clause: 'Micromano',
    caller: 'vnfm',
    callee: 'vim',
    irreversible: true,
    retryable: true,
    deadlineMs: operateDeadlineMs,
    vnfcInstanceId,
  };
}

/** Terminate VNF: ETSI GS NFV-SOL 003 clause 5.4.8. */
import type { JsonObject } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import { ComputeOperation } from '../../../gen/nfv/driver/v1/driver_pb.js';
import {
  OperationState,
  OperationType,
} from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { InstantiationState } from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { isRpcError } from '../../../sdk/errors.ts';
import {
  type OperationDefinition,
  parallel,
  type Step,
  type StepContext,
} from '../../../sdk/operations/engine.ts';
import { endGeneration } from '../generation.ts';
import { forgetThaw } from '../late-thaw.ts';
import { changeRecord, vnfInstances } from '../records.ts';
import type { Use } from '../usage.ts';
import type { Vnfm } from '../vnfm.ts';
import { callOf, defineProcedure } from './define.ts';
import { grantStep } from './grant.ts';

export const terminateVnfName = 'terminate-vnf';
const endDeadlineMs = 10 * 60_000;

export type TerminateVnfInput = {
  uses: Use[];
  vnfInstanceId: string;
  vnfdId: string;
  vim: string;
  graceful: boolean;
  gracefulTimeoutMs: number;
  vnfcs: { vnfcInstanceId: string; computeId: string }[];
  storageIds: string[];
  networkIds: string[];
};

type Input = TerminateVnfInput;

/** The procedure. What is gone cannot come back, so a failure waits for a person, who retries. */
export function terminateVnf(vnfm: Vnfm): OperationDefinition<Input> {
  return defineProcedure<Input>({
    name: terminateVnfName,
    operation: OperationType.TERMINATE,
    onFailure: 'failed-temp',
    plan: ({ vnfcs, storageIds, networkIds }) =>
      [
        grantStep<Input>(vnfm, { clause: 'Micromano', clauseStep: '' }, grantRequest),
        vnfcs.map((vnfc) => [stop(vnfm, vnfc), endCompute(vnfm, vnfc)]),
        storageIds.map((id) => [endStorage(vnfm, id)]),
        networkIds.map((id) => [endNetwork(vnfm, id)]),
      ]
        .filter((item) => !Array.isArray(item) || item.length > 0)
        .map((item) => (Array.isArray(item) ? parallel(item) : item)),
    ended: async (tx, { to, input }) => {
      if (to !== OperationState.COMPLETED) return;
      await changeRecord(tx, vnfInstances, input.vnfInstanceId, (vnf) => {
        vnf.instantiationState = InstantiationState.NOT_INSTANTIATED;
        delete vnf.instantiatedVnfInfo;
      });
      await endGeneration(tx, input.vnfInstanceId);
      await forgetThaw(tx, input.vnfInstanceId);
    },
  });
}

function stop(vnfm: Vnfm, vnfc: Input['vnfcs'][number]): Step<Input> {
  return {
    ...header(`stop ${vnfc.vnfcInstanceId}`, vnfc.vnfcInstanceId),
    run: async (context) => {
      const { graceful, gracefulTimeoutMs, vim } = context.input;
      const { STOP_GRACEFUL, STOP_FORCEFUL } = ComputeOperation;
      try {
        await vnfm.peers.vim(vim).compute.operateVirtualisedComputeResource(
          {
            computeId: vnfc.computeId,
            computeOperation: graceful ? STOP_GRACEFUL : STOP_FORCEFUL,
            gracefulTimeout: durationFromMs(gracefulTimeoutMs),
            call: callOf(context),
          },
          options(context),
        );
      } catch (thrown) {
        if (!isRpcError(thrown, 'COMPUTE_UNKNOWN')) throw thrown;
        context.skip('it is gone already');
      }
    },
  };
}

/** Steps that end a resource for good; the input of the operation names the VIM. */
export type EndInput = JsonObject & { vim: string };

export function endCompute<I extends EndInput>(vnfm: Vnfm, vnfc: Input['vnfcs'][number]): Step<I> {
  return {
    ...header(`end ${vnfc.vnfcInstanceId}`, vnfc.vnfcInstanceId),
    run: async (context) => {
      const { compute } = vnfm.peers.vim(context.input.vim);
      const request = { computeId: vnfc.computeId, call: callOf(context) };
      await compute.terminateVirtualisedComputeResource(request, options(context));
    },
  };
}

export function endStorage<I extends EndInput>(
  vnfm: Vnfm,
  storageId: string,
  name = storageId,
): Step<I> {
  return {
    ...header(`end ${name}`),
    run: async (context) => {
      const { storage } = vnfm.peers.vim(context.input.vim);
      const request = { storageId, call: callOf(context) };
      await storage.terminateVirtualisedStorageResource(request, options(context));
    },
  };
}

export function endNetwork<I extends EndInput>(
  vnfm: Vnfm,
  networkResourceId: string,
  name = networkResourceId,
): Step<I> {
  return {
    ...header(`end ${name}`),
    run: async (context) => {
      const { network } = vnfm.peers.vim(context.input.vim);
      const request = { networkResourceId, call: callOf(context) };
      await network.terminateVirtualisedNetworkResource(request, options(context));
    },
  };
}

function options(context: StepContext) {
  return { signal: context.signal, deadlineMs: endDeadlineMs };
}

function header(name: string, vnfcInstanceId = '') {
  return {
    name,
    clause: 'Micromano',
    caller: 'vnfm',
    callee: 'vim',
    irreversible: true,
    retryable: true,
    deadlineMs: endDeadlineMs,
    ...(vnfcInstanceId !== '' && { vnfcInstanceId }),
  };
}

function grantRequest({ vnfInstanceId, vnfdId, vnfcs }: Input) {
  return {
    vnfInstanceId,
    vnfdId,
    operation: OperationType.TERMINATE,
    removeResources: vnfcs.map(({ vnfcInstanceId: id }) => ({ id, type: 'COMPUTE' })),
  };
}

/** Instantiate VNF: ETSI GS NFV-SOL 003 clause 5.4.4. */
import { create } from '@bufbuild/protobuf';
import {
  OperationState,
  OperationType,
} from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import {
  InstantiatedVnfInfoSchema,
  InstantiationState,
  VnfState,
} from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import {
  type OperationDefinition,
  parallel,
  type StepContext,
} from '../../../sdk/operations/engine.ts';
import { beginGeneration } from '../generation.ts';
import type { VimClients } from '../peers.ts';
import type { InstantiationPlan, VnfcResources } from '../plan/instantiation-plan.ts';
import { changeRecord, vnfInstances } from '../records.ts';
import type { Use } from '../usage.ts';
import type { Vnfm } from '../vnfm.ts';
import {
  allocateAll,
  type ChosenHost,
  computeStepName,
  startStep,
  startStepName,
} from './allocate.ts';
import { defineProcedure } from './define.ts';
import { type Granted, grantStep } from './grant.ts';

export const instantiateVnfName = 'instantiate-vnf';

export type InstantiateVnfInput = {
  uses: Use[];
  vnfInstanceId: string;
  vnfdId: string;
  vim: string;
  leaveStopped: boolean;
  /** Where the components of its kind go; absent: the VIM chooses. */
  host?: ChosenHost;
  plan: InstantiationPlan;
};

type Input = InstantiateVnfInput;

/** The procedure. A failure frees what was allocated. */
export function instantiateVnf(vnfm: Vnfm): OperationDefinition<Input> {
  return defineProcedure<Input>({
    name: instantiateVnfName,
    operation: OperationType.INSTANTIATE,
    onFailure: 'rollback',
    plan: ({ plan, leaveStopped, host }) => {
      const vimOf = (context: StepContext<Input>) => placed(vnfm, context);
      return [
        grantStep(vnfm, { clause: 'Micromano', clauseStep: '' }, grantRequest),
        ...allocateAll({ vimOf, host }, plan),
        ...(leaveStopped ? [] : [parallel(plan.vnfcs.map((vnfc) => [startStep(vimOf, vnfc)]))]),
      ];
    },
    ended: async (tx, { to, input, outputs }) => {
      if (to !== OperationState.COMPLETED) return;
      await changeRecord(tx, vnfInstances, input.vnfInstanceId, (vnf) => {
        vnf.instantiationState = InstantiationState.INSTANTIATED;
        vnf.instantiatedVnfInfo = instantiatedInfo(input, outputs);
      });
      await beginGeneration(tx, input.vnfInstanceId, vnfm.random);
    },
  });
}

/** The VIM that the grant names, else the one that is configured. */
function placed(vnfm: Vnfm, context: StepContext<Input>): VimClients {
  return vnfm.peers.vim(context.output<Granted>('grant').vimConnectionId || context.input.vim);
}

function grantRequest(input: Input) {
  const { vnfInstanceId, vnfdId, plan } = input;
  const { networks, vnfcs } = plan;
  return {
    vnfInstanceId,
    vnfdId,
    operation: OperationType.INSTANTIATE,
    addResources: [
      ...networks.map(({ linkId }) => ({ id: linkId, type: 'VL', resourceTemplateId: linkId })),
      ...vnfcs.map(({ vnfcInstanceId: id, vduId }) => ({ id, type: 'COMPUTE', vduId })),
      ...vnfcs.flatMap(({ vnfcInstanceId, vduId, volumes }) =>
        volumes.map(({ name }) => ({
          id: `${vnfcInstanceId}/${name}`,
          type: 'STORAGE',
          vduId,
          resourceTemplateId: name,
        })),
      ),
    ],
  };
}

function instantiatedInfo(
  { plan, vim: configured, leaveStopped }: Input,
  outputs: Readonly<Record<string, unknown>>,
) {
  const { vimConnectionId } = outputs.grant as Granted;
  const vim = vimConnectionId || configured;
  const handle = (resourceId: string, vimLevelResourceType: string) => ({
    vimConnectionId: vim,
    resourceId,
    vimLevelResourceType,
  });
  const channel = (vnfc: VnfcResources): string => {
    const output = outputs[startStepName(vnfc)] ?? outputs[computeStepName(vnfc)];
    return (output as { vnfChannel?: string } | undefined)?.vnfChannel ?? '';
  };
  const storageId = (vnfc: VnfcResources, name: string) => `${vnfc.vnfcInstanceId}/${name}`;
  return create(InstantiatedVnfInfoSchema, {
    vnfState: leaveStopped ? VnfState.STOPPED : VnfState.STARTED,
    vimConnectionId: vim,
    vnfcResourceInfo: plan.vnfcs.map((vnfc) => ({
      id: vnfc.vnfcInstanceId,
      vduId: vnfc.vduId,
      computeResource: handle(vnfc.computeId, vnfc.environment),
      storageResourceIds: vnfc.volumes.map(({ name }) => storageId(vnfc, name)),
      vnfChannel: channel(vnfc),
    })),
    vnfVirtualLinkResourceInfo: plan.networks.map(({ linkId, networkId, environment }) => ({
      id: linkId,
      vnfVirtualLinkDescId: linkId,
      networkResource: handle(networkId, environment),
    })),
    virtualStorageResourceInfo: plan.vnfcs.flatMap((vnfc) =>
      vnfc.volumes.map((volume) => ({
        id: storageId(vnfc, volume.name),
        virtualStorageDescId: volume.name,
        storageResource: handle(volume.storageId, vnfc.environment),
      })),
    ),
  });
}

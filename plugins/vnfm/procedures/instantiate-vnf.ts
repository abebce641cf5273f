/** Instantiate VNF: ETSI GS NFV-SOL 003 clause 5.4.4. */
import { create } from '@bufbuild/protobuf';
import { ComputeOperation } from '../../../gen/nfv/driver/v1/driver_pb.js';
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
  type Step,
  type StepContext,
} from '../../../sdk/operations/engine.ts';
import { beginGeneration } from '../generation.ts';
import type { VimClients } from '../peers.ts';
import type {
  InstantiationPlan,
  NetworkResource,
  VnfcResources,
} from '../plan/instantiation-plan.ts';
import { changeRecord, vnfInstances } from '../records.ts';
import type { Use } from '../usage.ts';
import type { Vnfm } from '../vnfm.ts';
import { callOf, defineProcedure } from './define.ts';
import { type Granted, grantStep } from './grant.ts';

export const instantiateVnfName = 'instantiate-vnf';
/** Volumes may be copied from images, and guests may boot slowly on an emulated processor. */
const allocateDeadlineMs = 10 * 60_000;

export type InstantiateVnfInput = {
  uses: Use[];
  vnfInstanceId: string;
  vnfdId: string;
  vim: string;
  leaveStopped: boolean;
  plan: InstantiationPlan;
};

type Input = InstantiateVnfInput;

/** The procedure. A failure frees what was allocated. */
export function instantiateVnf(vnfm: Vnfm): OperationDefinition<Input> {
  return defineProcedure<Input>({
    name: instantiateVnfName,
    operation: OperationType.INSTANTIATE,
    onFailure: 'rollback',
    plan: ({ plan, leaveStopped }) => {
      const { networks, vnfcs } = plan;
      const groups = [
        networks.map((network) => [allocateNetwork(vnfm, network)]),
        vnfcs.map((vnfc) => vnfc.volumes.map((volume) => allocateVolume(vnfm, vnfc, volume))),
        vnfcs.map((vnfc) => [allocateCompute(vnfm, vnfc)]),
        leaveStopped ? [] : vnfcs.map((vnfc) => [startCompute(vnfm, vnfc)]),
      ];
      return [
        grantStep(vnfm, { clause: 'Micromano', clauseStep: '' }, grantRequest),
        ...groups
          .map((chains) => chains.filter((chain) => chain.length > 0))
          .filter((chains) => chains.length > 0)
          .map((chains) => parallel<Input>(chains)),
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

function allocateNetwork(vnfm: Vnfm, network: NetworkResource): Step<Input> {
  const { networkId: networkResourceId, environment: virtualisationEnvironment } = network;
  return {
    ...header(`network ${network.linkId}`),
    run: async (context) => {
      await placed(vnfm, context).network.allocateVirtualisedNetworkResource(
        { networkResourceId, virtualisationEnvironment, call: callOf(context) },
        { signal: context.signal, deadlineMs: allocateDeadlineMs },
      );
    },
    compensate: async (context) => {
      await placed(vnfm, context).network.terminateVirtualisedNetworkResource(
        { networkResourceId, call: callOf(context, 'undo') },
        { signal: context.signal },
      );
    },
  };
}

function allocateVolume(
  vnfm: Vnfm,
  vnfc: VnfcResources,
  volume: VnfcResources['volumes'][number],
): Step<Input> {
  const { storageId, image } = volume;
  return {
    ...header(`volume ${vnfc.vnfcInstanceId}/${volume.name}`, vnfc),
    run: async (context) => {
      await placed(vnfm, context).storage.allocateVirtualisedStorageResource(
        {
          storageId,
          image,
          virtualisationEnvironment: vnfc.environment,
          sizeBytes: BigInt(volume.sizeBytes),
          call: callOf(context),
        },
        { signal: context.signal, deadlineMs: allocateDeadlineMs },
      );
    },
    compensate: async (context) => {
      await placed(vnfm, context).storage.terminateVirtualisedStorageResource(
        { storageId, call: callOf(context, 'undo') },
        { signal: context.signal },
      );
    },
  };
}

function allocateCompute(vnfm: Vnfm, vnfc: VnfcResources): Step<Input> {
  const { computeId, environment, image, virtualCpus, memoryMib, guestParameters } = vnfc;
  const volumes = vnfc.volumes.map(({ storageId: volumeId, name, boot }) => ({
    volumeId,
    name,
    boot,
  }));
  const spec = {
    image,
    virtualCpus,
    memoryMib,
    volumes,
    interfaces: vnfc.interfaces,
    guestParameters,
  };
  return {
    ...header(computeStepName(vnfc), vnfc),
    run: async (context) => {
      const { computeData } = await placed(
        vnfm,
        context,
      ).compute.allocateVirtualisedComputeResource(
        { computeId, virtualisationEnvironment: environment, spec, call: callOf(context) },
        { signal: context.signal, deadlineMs: allocateDeadlineMs },
      );
      return { vnfChannel: computeData?.vnfChannel ?? '' };
    },
    compensate: async (context) => {
      await placed(vnfm, context).compute.terminateVirtualisedComputeResource(
        { computeId, call: callOf(context, 'undo') },
        { signal: context.signal, deadlineMs: allocateDeadlineMs },
      );
    },
  };
}

function startCompute(vnfm: Vnfm, vnfc: VnfcResources): Step<Input> {
  return {
    ...header(startStepName(vnfc), vnfc),
    run: async (context) => {
      const { computeData } = await placed(vnfm, context).compute.operateVirtualisedComputeResource(
        {
          computeId: vnfc.computeId,
          computeOperation: ComputeOperation.START,
          call: callOf(context),
        },
        { signal: context.signal, deadlineMs: allocateDeadlineMs },
      );
      return { vnfChannel: computeData?.vnfChannel ?? '' };
    },
  };
}

const computeStepName = (vnfc: VnfcResources) => `compute ${vnfc.vnfcInstanceId}`;
const startStepName = (vnfc: VnfcResources) => `start ${vnfc.vnfcInstanceId}`;

function header(name: string, vnfc?: VnfcResources) {
  return {
    name,
    clause: 'Micromano',
    caller: 'vnfm',
    callee: 'vim',
    deadlineMs: allocateDeadlineMs,
    ...(vnfc && { vnfcInstanceId: vnfc.vnfcInstanceId }),
  };
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

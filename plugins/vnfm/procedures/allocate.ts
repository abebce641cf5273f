/** Making the resources of a VNF at the VIM, and what undoes it. */
import type { JsonValue } from '@bufbuild/protobuf';
import { ComputeOperation } from '../../../gen/nfv/driver/v1/driver_pb.js';
import {
  type Group,
  parallel,
  type Step,
  type StepContext,
} from '../../../sdk/operations/engine.ts';
import type { VimClients } from '../peers.ts';
import type {
  InstantiationPlan,
  NetworkResource,
  VnfcResources,
} from '../plan/instantiation-plan.ts';
import { callOf } from './define.ts';

/** Volumes may be copied from images, and guests may boot slowly on an emulated processor. */
const allocateDeadlineMs = 10 * 60_000;

type VimOf<I extends JsonValue> = (context: StepContext<I>) => VimClients;
/** A driver instance, and the kind of the resources that go there. */
export type ChosenHost = { name: string; kind: string };
type Place<I extends JsonValue> = { vimOf: VimOf<I>; host?: ChosenHost | undefined };

/** Networks, then volumes, then compute resources, which are left stopped. */
export function allocateAll<I extends JsonValue>(
  place: Place<I>,
  { networks, vnfcs }: InstantiationPlan,
): Group<I>[] {
  const groups = [
    networks.map((network) => [allocateNetwork(place, network)]),
    vnfcs.map((vnfc) => vnfc.volumes.map((volume) => allocateVolume(place, vnfc, volume))),
    vnfcs.map((vnfc) => [allocateCompute(place, vnfc)]),
  ];
  return groups
    .map((chains) => chains.filter((chain) => chain.length > 0))
    .filter((chains) => chains.length > 0)
    .map((chains) => parallel<I>(chains));
}

function targetHost({ host }: { host?: ChosenHost | undefined }, kind: string): string {
  return host?.kind === kind ? host.name : '';
}

function allocateNetwork<I extends JsonValue>(place: Place<I>, network: NetworkResource): Step<I> {
  const { networkId: networkResourceId, environment: virtualisationEnvironment } = network;
  return {
    ...header(`network ${network.linkId}`),
    run: async (context) => {
      await place.vimOf(context).network.allocateVirtualisedNetworkResource(
        {
          ...{ networkResourceId, virtualisationEnvironment, call: callOf(context) },
          targetHost: targetHost(place, virtualisationEnvironment),
        },
        { signal: context.signal, deadlineMs: allocateDeadlineMs },
      );
    },
    compensate: async (context) => {
      await place
        .vimOf(context)
        .network.terminateVirtualisedNetworkResource(
          { networkResourceId, call: callOf(context, 'undo') },
          { signal: context.signal },
        );
    },
  };
}

function allocateVolume<I extends JsonValue>(
  place: Place<I>,
  vnfc: VnfcResources,
  volume: VnfcResources['volumes'][number],
): Step<I> {
  const { storageId, image } = volume;
  return {
    ...header(`volume ${vnfc.vnfcInstanceId}/${volume.name}`, vnfc),
    run: async (context) => {
      await place.vimOf(context).storage.allocateVirtualisedStorageResource(
        {
          storageId,
          image,
          virtualisationEnvironment: vnfc.environment,
          targetHost: targetHost(place, vnfc.environment),
          sizeBytes: BigInt(volume.sizeBytes),
          call: callOf(context),
        },
        { signal: context.signal, deadlineMs: allocateDeadlineMs },
      );
    },
    compensate: async (context) => {
      await place
        .vimOf(context)
        .storage.terminateVirtualisedStorageResource(
          { storageId, call: callOf(context, 'undo') },
          { signal: context.signal },
        );
    },
  };
}

function allocateCompute<I extends JsonValue>(place: Place<I>, vnfc: VnfcResources): Step<I> {
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
      const { computeData } = await place.vimOf(context).compute.allocateVirtualisedComputeResource(
        {
          ...{ computeId, virtualisationEnvironment: environment, spec, call: callOf(context) },
          targetHost: targetHost(place, environment),
        },
        { signal: context.signal, deadlineMs: allocateDeadlineMs },
      );
      return { vnfChannel: computeData?.vnfChannel ?? '' };
    },
    compensate: async (context) => {
      await place
        .vimOf(context)
        .compute.terminateVirtualisedComputeResource(
          { computeId, call: callOf(context, 'undo') },
          { signal: context.signal, deadlineMs: allocateDeadlineMs },
        );
    },
  };
}

/** Starts what was made. */
export function startStep<I extends JsonValue>(vimOf: VimOf<I>, vnfc: VnfcResources): Step<I> {
  return {
    ...header(startStepName(vnfc), vnfc),
    run: async (context) => {
      const { computeData } = await vimOf(context).compute.operateVirtualisedComputeResource(
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

export const computeStepName = (vnfc: VnfcResources) => `compute ${vnfc.vnfcInstanceId}`;
export const startStepName = (vnfc: VnfcResources) => `start ${vnfc.vnfcInstanceId}`;

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

import { create } from '@bufbuild/protobuf';
import { durationMs, timestampFromMs } from '@bufbuild/protobuf/wkt';
import { ImageRole } from '../../gen/nfv/common/v1/common_pb.js';
import { VirtualisedComputeResourceService } from '../../gen/nfv/compute/v1/virtualised_compute_resource_pb.js';
import {
  type CapabilityName,
  ComputeOperation,
  StateAfterRevert,
} from '../../gen/nfv/driver/v1/driver_pb.js';
import { VirtualisedNetworkResourceService } from '../../gen/nfv/network/v1/virtualised_network_resource_pb.js';
import { VirtualisedStorageResourceService } from '../../gen/nfv/storage/v1/virtualised_storage_resource_pb.js';
import {
  ComputeState,
  type InstanceSnapshot,
  InstanceSnapshotSchema,
} from '../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { aborted, failedPrecondition } from '../../sdk/errors.ts';
import { type Handlers, implement, type ServiceImplementation } from '../../sdk/server.ts';
import {
  allCapabilities,
  type FakeWorld,
  fakeDriver,
  type Guest,
  leaseMessage,
} from './vnfm/fake-world.ts';

type ComputeHandlers = Handlers<typeof VirtualisedComputeResourceService>;

/** A VIM over a world in memory, with the contract's errors and idempotency. */
export function fakeVim(world: FakeWorld): ServiceImplementation[] {
  return [
    implement(VirtualisedComputeResourceService, {
      ...lifeCycle(world),
      ...volumes(world),
      ...phases(world),
      ...snapshots(world),
    }),
    implement(VirtualisedStorageResourceService, {
      allocateVirtualisedStorageResource: ({ storageId, image, call }) =>
        world.once('allocateStorage', storageId, call, () => {
          if (!world.volumes.has(storageId)) world.volumes.set(storageId, image || 'empty');
          return { storageData: { storageId } };
        }),
      terminateVirtualisedStorageResource: ({ storageId, call }) =>
        world.once('terminateStorage', storageId, call, () => {
          world.volumes.delete(storageId);
          return {};
        }),
    }),
    implement(VirtualisedNetworkResourceService, {
      allocateVirtualisedNetworkResource: ({ networkResourceId: id, call }) =>
        world.once('allocateNetwork', id, call, () => {
          world.networks.add(id);
          return { networkData: { networkId: id } };
        }),
      terminateVirtualisedNetworkResource: ({ networkResourceId: id, call }) =>
        world.once('terminateNetwork', id, call, () => {
          world.networks.delete(id);
          return {};
        }),
    }),
  ];
}

function lifeCycle(world: FakeWorld): ComputeHandlers {
  return {
    allocateVirtualisedComputeResource: ({ computeId, spec, call }) =>
      world.once('allocateCompute', computeId, call, () => {
        const guest: Guest = {
          ...{ computeId, spec: spec!, state: ComputeState.STOPPED, memory: 0 },
          ...{ quiesced: false, watchdogs: 0 },
        };
        world.guests.set(computeId, guest);
        return { computeData: world.describe(guest) };
      }),
    queryVirtualisedComputeResource: async ({ computeIds }) => {
      const wanted = computeIds.length > 0 ? computeIds : [...world.guests.keys()];
      const found = wanted.flatMap((id) => world.guests.get(id) ?? []);
      return { queryResult: found.map((guest) => world.describe(guest)) };
    },
    terminateVirtualisedComputeResource: ({ computeId, call }) =>
      world.once('terminateCompute', computeId, call, () => {
        world.guests.delete(computeId);
        return {};
      }),
    operateVirtualisedComputeResource: ({ computeId, computeOperation, call }) =>
      world.once('operate', computeId, call, () => {
        const guest = world.guest(computeId);
        const starts = computeOperation === ComputeOperation.START;
        const unpauses = computeOperation === ComputeOperation.UNPAUSE;
        if (!unpauses) {
          world.end(guest, 'hold', '');
          world.end(guest, 'freeze', '');
          guest.quiesced = false;
          guest.memory = 0;
        }
        guest.state = starts || unpauses ? ComputeState.RUNNING : ComputeState.STOPPED;
        return { computeData: world.describe(guest) };
      }),
    querySnapshotCapabilities: async () => ({
      drivers: [
        {
          driver: fakeDriver,
          virtualisationEnvironment: fakeDriver,
          compatibility: { hypervisor: fakeDriver, cpuModel: world.cpuModel },
          capabilities: allCapabilities.map((name) => ({
            name,
            available: !world.missing.has(name),
            reason: world.missing.get(name) ?? '',
          })),
        },
      ],
    }),
  };
}

function volumes(world: FakeWorld): ComputeHandlers {
  return {
    attachVirtualisedStorageResource: ({ computeId, attachment, position, call }) =>
      world.once('attach', attachment!.volumeId, call, () => {
        const guest = world.guest(computeId);
        const { volumes: all } = guest.spec;
        if (!all.some(({ volumeId }) => volumeId === attachment!.volumeId)) {
          guest.spec.volumes = all.toSpliced(position ?? all.length, 0, attachment!);
        }
        return { computeData: world.describe(guest) };
      }),
    detachVirtualisedStorageResource: ({ computeId, storageId, call }) =>
      world.once('detach', storageId, call, () => {
        const guest = world.guest(computeId);
        guest.spec.volumes = guest.spec.volumes.filter(({ volumeId }) => volumeId !== storageId);
        return { computeData: world.describe(guest) };
      }),
  };
}

function phases(world: FakeWorld): ComputeHandlers {
  return {
    quiesceVirtualisedComputeResource: ({ computeId, deadline, call }) =>
      world.once('quiesce', computeId, call, () => {
        const guest = world.guest(computeId);
        requireRunning(guest);
        guest.quiesced = true;
        guest.freeze = world.lease(durationMs(deadline!), () => {
          guest.freeze = undefined;
          guest.quiesced = false;
        });
        return { lease: leaseMessage(guest.freeze), frozenFileSystems: 1 };
      }),
    unquiesceVirtualisedComputeResource: ({ computeId, leaseId, call }) =>
      world.once('unquiesce', computeId, call, () => {
        const guest = world.guest(computeId);
        world.end(guest, 'freeze', leaseId);
        const thawedFileSystems = guest.quiesced ? 1 : 0;
        guest.quiesced = false;
        return { thawedFileSystems };
      }),
    holdVirtualisedComputeResource: ({ computeId, deadline, call }) =>
      world.once('hold', computeId, call, () => {
        const guest = world.guest(computeId);
        if (guest.state !== ComputeState.PAUSED) requireRunning(guest);
        return { lease: leaseMessage(world.hold(guest, durationMs(deadline!))) };
      }),
    releaseVirtualisedComputeResource: ({ computeId, leaseId, call }) =>
      world.once('release', computeId, call, () => {
        const guest = world.guest(computeId);
        if (world.end(guest, 'hold', leaseId)) world.letRun(guest);
        return { releaseTime: timestampFromMs(Date.now()) };
      }),
  };
}

function snapshots(world: FakeWorld): ComputeHandlers {
  return {
    createVirtualisedComputeResourceSnapshot: (request) =>
      world.once('capture', request.computeId, request.call, () => {
        const guest = world.guest(request.computeId);
        const { leaseId, snapshotId, storageIds, memory, detachedVolumes } = request;
        if (leaseId !== '' && guest.hold?.leaseId !== leaseId) {
          throw aborted('LEASE_EXPIRED', `hold "${leaseId}" is over`);
        }
        const captured = [
          ...storageIds.map((volumeId) => ({ volumeId, name: nameOf(guest, volumeId) })),
          ...detachedVolumes,
        ];
        const info = describeSnapshot(guest, snapshotId, captured, memory, world.cpuModel);
        const disks = Object.fromEntries(
          captured.map(({ volumeId, name }) => [name, world.volumes.get(volumeId) ?? '']),
        );
        world.snapshots.set(snapshotId, { info, memory: guest.memory, disks });
        return { snapshot: info };
      }),
    revertVirtualisedComputeResourceToSnapshot: (request) =>
      world.once('revert', request.computeId, request.call, () => {
        const guest = world.guest(request.computeId);
        const snapshot = world.snapshot(request.snapshotId);
        world.end(guest, 'hold', '');
        world.end(guest, 'freeze', '');
        for (const { volumeId, name } of [...guest.spec.volumes, ...request.detachedVolumes]) {
          const content = snapshot.disks[name];
          if (content !== undefined) world.volumes.set(volumeId, content);
        }
        const { HELD, STOPPED, UNSPECIFIED } = StateAfterRevert;
        guest.memory = snapshot.info.memory ? snapshot.memory : 0;
        guest.quiesced = snapshot.info.memory && snapshot.info.quiesced;
        guest.state = request.stateAfter === STOPPED ? ComputeState.STOPPED : ComputeState.RUNNING;
        if (request.stateAfter === UNSPECIFIED) guest.state = snapshot.info.stateWhenTaken;
        if (request.stateAfter === HELD) {
          guest.suspended = false;
          world.hold(guest, request.holdDeadline ? durationMs(request.holdDeadline) : 60_000);
        }
        return { computeData: world.describe(guest) };
      }),
    queryVirtualisedComputeResourceSnapshots: async ({ snapshotIds }) => {
      const wanted = snapshotIds.length > 0 ? snapshotIds : [...world.snapshots.keys()];
      return { snapshots: wanted.flatMap((id) => world.snapshots.get(id)?.info ?? []) };
    },
    deleteVirtualisedComputeResourceSnapshot: ({ snapshotId, call }) =>
      world.once('deleteSnapshot', snapshotId, call, () => {
        world.snapshots.delete(snapshotId);
        return {};
      }),
  };
}

function describeSnapshot(
  guest: Guest,
  snapshotId: string,
  captured: readonly { volumeId: string; name: string }[],
  memory: boolean,
  cpuModel: string,
): InstanceSnapshot {
  const now = timestampFromMs(Date.now());
  const disks = captured.map(({ volumeId, name }) => ({
    name,
    role: ImageRole.DISK,
    volumeId,
    sizeBytes: 65_536n,
  }));
  const images = memory
    ? [...disks, { name: 'memory', role: ImageRole.MEMORY, volumeId: '', sizeBytes: 65_536n }]
    : disks;
  return create(InstanceSnapshotSchema, {
    ...{ snapshotId, computeId: guest.computeId, driver: fakeDriver, memory, images },
    captureTime: now,
    completeTime: now,
    stateWhenTaken: guest.hold && !guest.suspended ? ComputeState.RUNNING : guest.state,
    quiesced: guest.quiesced,
    spec: guest.spec,
    compatibility: { hypervisor: fakeDriver, cpuModel },
  });
}

function nameOf(guest: Guest, storageId: string): string {
  const found = guest.spec.volumes.find((volume) => volume.volumeId === storageId);
  if (found) return found.name;
  throw failedPrecondition('VOLUME_NOT_ATTACHED', `"${storageId}" is not attached`);
}

function requireRunning(guest: Guest): void {
  if (guest.state === ComputeState.RUNNING) return;
  const text = `compute "${guest.computeId}" is ${ComputeState[guest.state]}`;
  throw failedPrecondition('COMPUTE_STATE', text);
}

/** What a driver cannot do now, and why. */
export function cannot(world: FakeWorld, name: CapabilityName, reason: string): void {
  world.missing.set(name, reason);
}

import { hostname } from 'node:os';
import { CapabilityName, type DriverService } from '../../../../gen/nfv/driver/v1/driver_pb.js';
import type { Handlers } from '../../../../sdk/server.ts';
import type { Probe } from '../machine/hypervisor.ts';
import type { DriverContext } from '../state/context.ts';
import { stampMessage } from './messages.ts';

export const driverVersion = '0.1.0';

type InformationHandlers = Pick<
  Handlers<typeof DriverService>,
  'getDriverInfo' | 'watchCapabilities'
>;

/** Who the driver is and what it can do now. */
export function informationHandlers(context: DriverContext): InformationHandlers {
  return {
    getDriverInfo: async () => ({
      driver: 'qemu',
      driverVersion,
      ...('hypervisor' in context.probe
        ? { compatibility: stampMessage(context.probe.hypervisor) }
        : {}),
      hostId: hostname(),
      snapshotFolders: context.config.snapshotFolders,
    }),
    async *watchCapabilities(_, { signal }) {
      yield { capabilities: capabilitiesOf(context.probe) };
      // QEMU was probed when the driver started, and what it can do does not change under it.
      await new Promise<void>((resolve) => {
        if (signal.aborted) resolve();
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
    },
  };
}

type Answer = { name: CapabilityName; available: boolean; reason: string };

const notBuilt: [CapabilityName, string][] = [
  [CapabilityName.MEMORY_INTERNAL, 'memory is kept in files of its own, by guest address'],
  [CapabilityName.DISK_INTERNAL, 'disks are kept as layers in files of their own'],
  [CapabilityName.DISK_EXTERNAL_SEQUENTIAL, 'a layer holds changes only; export makes whole disks'],
  [CapabilityName.HOT_PLUG, 'volumes are attached and detached while the machine is stopped'],
];

/** Pure. Every capability is there, with a reason when it cannot be used. */
export function capabilitiesOf(probe: Probe): Answer[] {
  const hypervisor = 'hypervisor' in probe ? probe.hypervisor : undefined;
  const missing = 'problem' in probe ? probe.problem : '';
  const needs = (name: CapabilityName, works: boolean | undefined, reason: string): Answer => {
    const available = works === true;
    return { name, available, reason: available ? '' : missing || reason };
  };
  const basic = [
    CapabilityName.COMPUTE,
    CapabilityName.PAUSE,
    CapabilityName.QUIESCE,
    CapabilityName.DISK_EXTERNAL_INCREMENTAL,
    CapabilityName.ATOMIC_DISKS,
    CapabilityName.CHANGED_MAP,
    CapabilityName.VNF_CHANNEL,
  ];
  return [
    ...basic.map((name) => needs(name, hypervisor !== undefined, '')),
    needs(
      CapabilityName.MEMORY_EXTERNAL,
      hypervisor?.ignoreShared,
      `QEMU ${hypervisor?.version} lacks the migration capability x-ignore-shared`,
    ),
    needs(CapabilityName.NBD, hypervisor?.nbdServer, 'qemu-nbd is missing (package qemu-utils)'),
    ...notBuilt.map(([name, reason]) => ({ name, available: false, reason })),
  ].sort((one, other) => one.name - other.name);
}

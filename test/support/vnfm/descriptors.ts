import { create, type MessageInitShape } from '@bufbuild/protobuf';
import type { DriverCapabilities } from '../../../gen/nfv/compute/v1/virtualised_compute_resource_pb.js';
import type { CapabilityName } from '../../../gen/nfv/driver/v1/driver_pb.js';
import {
  CompatibilityStampSchema,
  ComputeState,
} from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import {
  type Vnfd,
  VnfdSchema,
  type VnfSnapshotDescriptorSchema,
} from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { DriverView } from '../../../plugins/vnfm/plan/capabilities.ts';
import type { Component, Disk, Situation } from '../../../plugins/vnfm/plan/situation.ts';
import { allCapabilities, fakeDriver } from './fake-world.ts';
import { demoVnfd } from './rig.ts';

export type Init<T> = Omit<T, '$typeName'>;

/** The demo's descriptor as a message, with changes. */
export function vnfdOf(
  change: (vnfd: Vnfd) => void = () => {},
  snapshotDescriptor: Init<MessageInitShape<typeof VnfSnapshotDescriptorSchema>> = {},
): Vnfd {
  const vnfd = create(VnfdSchema, demoVnfd(snapshotDescriptor));
  change(vnfd);
  return vnfd;
}

/** A driver that can do everything, on machines of one kind. */
export function driverStamped(
  stamp: Init<MessageInitShape<typeof CompatibilityStampSchema>>,
): DriverView {
  const compatibility = create(CompatibilityStampSchema, stamp);
  return new DriverView({ ...capabilitiesWithout([]), compatibility });
}

/** A driver that can do everything but these. */
export function driverWithout(...missing: CapabilityName[]): DriverView {
  return new DriverView(capabilitiesWithout(missing));
}

/** A driver that can do everything, on another host. */
export function driverNamed(driver: string, virtualisationEnvironment: string): DriverView {
  return new DriverView({ ...capabilitiesWithout([]), driver, virtualisationEnvironment });
}

function capabilitiesWithout(missing: readonly CapabilityName[]): DriverCapabilities {
  return {
    $typeName: 'nfv.compute.v1.DriverCapabilities',
    ...{ driver: fakeDriver, virtualisationEnvironment: fakeDriver, unavailableReason: '' },
    snapshotFolders: [],
    capabilities: allCapabilities.map((name) => ({
      $typeName: 'nfv.driver.v1.Capability' as const,
      name,
      available: !missing.includes(name),
      reason: missing.includes(name) ? 'the test says so' : '',
    })),
  };
}

/** A volume that its component has now. */
export function disk(storageId: string, name: string, changes: Partial<Disk> = {}): Disk {
  return { storageId, name, boot: false, position: 0, attached: true, ...changes };
}

/** A component of the demo as it runs. */
export function component(vduId: string, changes: Partial<Component> = {}): Component {
  return {
    ...{ vnfcInstanceId: `${vduId}-0`, vduId, computeId: `vnf-x.${vduId}-0` },
    ...{ environment: fakeDriver, state: ComputeState.RUNNING, held: false, suspended: false },
    disks: [disk(`vnf-x.${vduId}-0.data`, 'data')],
    driver: driverWithout(),
    ...changes,
  };
}

export function situation(
  vnfd: Vnfd = vnfdOf(),
  components?: Component[],
  now = new Date('2026-03-02T12:00:00Z'),
): Situation {
  const all = components ?? vnfd.vdu.map(({ vduId }) => component(vduId));
  return { vnfd, components: all, drivers: [capabilitiesWithout([])], now };
}

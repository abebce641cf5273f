import { create } from '@bufbuild/protobuf';
import {
  type Capability,
  CapabilityName,
  CapabilitySchema,
} from '../../../gen/nfv/driver/v1/driver_pb.js';

const whole = 'disks are raw files and are copied whole';
const inside = 'a raw disk image has no room for it';

/**
 * What the driver can do, and why it cannot do the rest. It depends on nothing, so it never
 * changes.
 */
const reasons: readonly (readonly [CapabilityName, string])[] = [
  [CapabilityName.COMPUTE, ''],
  [CapabilityName.PAUSE, ''],
  [CapabilityName.QUIESCE, ''],
  [CapabilityName.MEMORY_EXTERNAL, ''],
  [CapabilityName.MEMORY_INTERNAL, inside],
  [CapabilityName.DISK_EXTERNAL_INCREMENTAL, whole],
  [CapabilityName.DISK_EXTERNAL_SEQUENTIAL, ''],
  [CapabilityName.DISK_INTERNAL, inside],
  [CapabilityName.ATOMIC_DISKS, ''],
  [CapabilityName.CHANGED_MAP, ''],
  [CapabilityName.HOT_PLUG, 'volumes change only while the guest is stopped'],
  [CapabilityName.NBD, 'the driver has no NBD server: its images are local files'],
  [CapabilityName.VNF_CHANNEL, ''],
];

export function capabilities(): Capability[] {
  return reasons.map(([name, reason]) =>
    create(CapabilitySchema, { name, available: reason === '', reason }),
  );
}

import { CapabilityName } from '../../../gen/nfv/driver/v1/driver_pb.js';
import type { VnfcSnapshotDescriptor } from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { invalidArgument } from '../../../sdk/errors.ts';
import type { Component, Disk } from './situation.ts';

/**
 * Which of the disks that are captured, or come back, are detached before (Vnfsd.011) and attached after (Vnfsd.012). `inMemory`:
 * the component is in memory at that time. UNIMPLEMENTED with reason CAPABILITY_MISSING when its driver cannot detach from a
 * running guest; INVALID_ARGUMENT with reason DESCRIPTOR_CONTRADICTION when the guest runs from the disk.
 */
export function planVolumes(
  { vnfcInstanceId, driver }: Component,
  descriptor: VnfcSnapshotDescriptor | undefined,
  disks: readonly Disk[],
  inMemory: boolean,
): { detach: Disk[]; attach: Disk[] } {
  const detach = descriptor?.detachBefore ? disks.filter(({ attached }) => attached) : [];
  const attach = descriptor?.attachAfter
    ? disks.filter((disk) => !disk.attached || detach.includes(disk))
    : [];
  if (!inMemory || detach.length + attach.length === 0) return { detach, attach };
  const hotPlug = [CapabilityName.HOT_PLUG];
  driver.require(hotPlug, vnfcInstanceId, 'detaching or attaching disks of a running guest');
  const booted = detach.find(({ boot }) => boot);
  if (booted) {
    const text = `${vnfcInstanceId}: it runs from disk "${booted.name}", which cannot be detached; power it off before (powerOff)`;
    throw invalidArgument('DESCRIPTOR_CONTRADICTION', text, { vnfc_instance_id: vnfcInstanceId });
  }
  return { detach, attach };
}

/** Those of the disks that nothing has when they are captured or brought back. */
export function detachedOf(disks: readonly Disk[], detach: readonly Disk[] = []): Disk[] {
  return disks.filter(
    ({ attached, storageId }) =>
      !attached || detach.some((detached) => detached.storageId === storageId),
  );
}

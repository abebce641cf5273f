import type { Duration } from '@bufbuild/protobuf/wkt';
import { durationMs } from '@bufbuild/protobuf/wkt';
import {
  DiskTechnique,
  MemoryTechnique,
} from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import {
  ConsistencyPolicy,
  DayOfWeek,
  Permission,
  PowerOff,
  SnapshotType,
  type SnapshotWindow,
  type VnfcSnapshotDescriptor,
  type Vnfd,
  type VnfSnapshotDescriptor,
} from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import type { FieldViolation } from '../../../sdk/errors.ts';
import { clockOf } from '../../../sdk/windows.ts';
import { duplicates, unresolved } from './names.ts';

/** How long the VNF may take to prepare, in milliseconds, when its descriptor does not say. */
export const prepareTimeoutMsDefault = 10_000;
/** How long guests may stay held, in milliseconds, when the descriptor does not say. */
export const holdDeadlineMsDefault = 30_000;
/**
 * Drivers keep holds of at most 10 minutes; what is added for the freeze around the hold has to fit
 * too.
 */
export const holdDeadlineMsMax = 9 * 60_000;
export const prepareTimeoutMsMax = 10 * 60_000;

/** How long a VNF may take to be well again. */
export const recoveryTimeoutMsMax = 60 * 60_000;

/** Faults of the VNF snapshot descriptor (GR NFV-TST 005 clause 7.3). */
export function snapshotDescriptorViolations(vnfd: Vnfd): FieldViolation[] {
  const descriptor = vnfd.snapshotDescriptor;
  if (!descriptor) return [];
  const vdus = new Set(vnfd.vdu.map((vdu) => vdu.vduId));
  const lists: [string, readonly string[]][] = [
    ['includedVduIds', descriptor.includedVduIds],
    ['createOrder', descriptor.createOrder],
    ['revertOrder', descriptor.revertOrder],
  ];
  return [
    ...lists.flatMap(([name, ids]) => {
      const pathOf = (i: number) => `snapshotDescriptor.${name}[${i}]`;
      return [...unresolved(ids, vdus, 'VDU', pathOf), ...duplicates(ids, (id) => id, pathOf)];
    }),
    ...enumViolations(descriptor),
    ...durationViolation(descriptor.prepareTimeout, 'prepareTimeout', prepareTimeoutMsMax),
    ...durationViolation(descriptor.holdDeadline, 'holdDeadline', holdDeadlineMsMax),
    ...durationViolation(
      descriptor.automation?.recoveryTimeout,
      'automation.recoveryTimeout',
      recoveryTimeoutMsMax,
    ),
    ...automationViolations(descriptor),
    ...restrictionViolations(vnfd, descriptor),
    ...descriptor.windows.flatMap(windowViolations),
    ...descriptor.vnfc.flatMap(powerViolations),
    ...duplicates(
      descriptor.vnfc,
      (vnfc) => vnfc.vduId,
      (i) => `snapshotDescriptor.vnfc[${i}].vduId`,
    ),
    ...descriptor.vnfc.flatMap((vnfc, index) => vnfcViolations(vnfd, descriptor, vnfc, index)),
  ];
}

function enumViolations(descriptor: VnfSnapshotDescriptor): FieldViolation[] {
  const found: FieldViolation[] = [];
  const check = (name: string, value: number, values: object) => {
    if (value in values) return;
    found.push({ field: `snapshotDescriptor.${name}`, description: `${value} means nothing here` });
  };
  check('create', descriptor.create, Permission);
  check('revert', descriptor.revert, Permission);
  check('consistency', descriptor.consistency, ConsistencyPolicy);
  descriptor.vnfc.forEach((vnfc, i) => {
    check(`vnfc[${i}].type`, vnfc.type, SnapshotType);
    check(`vnfc[${i}].powerOff`, vnfc.powerOff, PowerOff);
    check(`vnfc[${i}].memoryTechnique`, vnfc.memoryTechnique, MemoryTechnique);
    check(`vnfc[${i}].diskTechnique`, vnfc.diskTechnique, DiskTechnique);
  });
  return found;
}

function durationViolation(
  value: Duration | undefined,
  name: string,
  maxMs: number,
): FieldViolation[] {
  if (!value) return [];
  const ms = durationMs(value);
  if (ms >= 1 && ms <= maxMs) return [];
  const description = `must be at least 0.001s and at most ${maxMs / 1000}s, not ${ms / 1000}s`;
  return [{ field: `snapshotDescriptor.${name}`, description }];
}

/** What the VNFM shall do by itself and the descriptor forbids. */
function automationViolations(descriptor: VnfSnapshotDescriptor): FieldViolation[] {
  const { automation, create, revert } = descriptor;
  const path = 'snapshotDescriptor.automation';
  const found: FieldViolation[] = [];
  for (const name of ['onFault', 'beforeHeal'] as const) {
    if (!automation?.[name] || create !== Permission.FORBIDDEN) continue;
    found.push({ field: `${path}.${name}`, description: 'contradicts create FORBIDDEN' });
  }
  for (const name of ['beforeHeal', 'revertToHeal'] as const) {
    if (!automation?.[name] || revert !== Permission.FORBIDDEN) continue;
    found.push({ field: `${path}.${name}`, description: 'contradicts revert FORBIDDEN' });
  }
  return found;
}

/** Restrictions that restrict nothing, name no VDU of the VNF, or contradict a type. */
function restrictionViolations(vnfd: Vnfd, descriptor: VnfSnapshotDescriptor): FieldViolation[] {
  const vdus = new Set(vnfd.vdu.map((vdu) => vdu.vduId));
  return descriptor.restrictions.flatMap((restriction, index) => {
    const path = `snapshotDescriptor.restrictions[${index}]`;
    const { vduIds, noMemory, noExport } = restriction;
    const found = unresolved(vduIds, vdus, 'VDU', (i) => `${path}.vduIds[${i}]`);
    if (!noMemory && !noExport) {
      found.push({ field: path, description: 'restricts neither memory nor export' });
    }
    descriptor.vnfc.forEach((vnfc, i) => {
      const isConcerned = vduIds.length === 0 || vduIds.includes(vnfc.vduId);
      if (!noMemory || !isConcerned || vnfc.type !== SnapshotType.WARM) return;
      const description = `WARM contradicts restrictions[${index}].noMemory`;
      found.push({ field: `snapshotDescriptor.vnfc[${i}].type`, description });
    });
    return found;
  });
}

/** A window that nobody could tell the hour of. Its form is checked by the rules of its fields. */
function windowViolations(window: SnapshotWindow, index: number): FieldViolation[] {
  const path = `snapshotDescriptor.windows[${index}]`;
  const found: FieldViolation[] = [];
  window.days.forEach((day, i) => {
    if (day !== DayOfWeek.UNSPECIFIED && day in DayOfWeek) return;
    found.push({ field: `${path}.days[${i}]`, description: `${day} is no day of the week` });
  });
  if (window.startTime === window.endTime) {
    const description = `begins and ends at ${window.startTime}: leave it out for the whole day`;
    found.push({ field: `${path}.endTime`, description });
  }
  try {
    clockOf(window.timeZone);
  } catch {
    const description = `"${window.timeZone}" is no time zone, such as "Europe/Berlin"`;
    found.push({ field: `${path}.timeZone`, description });
  }
  return found;
}

/** Contradictions between how a component is captured and whether it runs. */
function powerViolations(vnfc: VnfcSnapshotDescriptor, index: number): FieldViolation[] {
  if (vnfc.type === SnapshotType.COLD && vnfc.memoryTechnique !== MemoryTechnique.UNSPECIFIED) {
    const path = `snapshotDescriptor.vnfc[${index}].memoryTechnique`;
    return [{ field: path, description: 'a COLD snapshot has no memory' }];
  }
  const field = `snapshotDescriptor.vnfc[${index}].powerOff`;
  if (vnfc.powerOff === PowerOff.BEFORE && vnfc.type === SnapshotType.WARM) {
    return [{ field, description: 'BEFORE leaves no memory for a WARM snapshot to capture' }];
  }
  if (vnfc.detachBefore && vnfc.type === SnapshotType.WARM) {
    const description = 'contradicts a WARM type: memory fits the disks that it was captured with';
    return [{ field: `snapshotDescriptor.vnfc[${index}].detachBefore`, description }];
  }
  if (vnfc.powerOff === PowerOff.AFTER && vnfc.powerOnAfter) {
    return [{ field, description: 'AFTER contradicts powerOnAfter' }];
  }
  return [];
}

function vnfcViolations(
  vnfd: Vnfd,
  descriptor: VnfSnapshotDescriptor,
  vnfc: VnfcSnapshotDescriptor,
  index: number,
): FieldViolation[] {
  const path = `snapshotDescriptor.vnfc[${index}]`;
  const vdu = vnfd.vdu.find((candidate) => candidate.vduId === vnfc.vduId);
  if (!vdu) {
    const known = new Set(vnfd.vdu.map((candidate) => candidate.vduId));
    return unresolved([vnfc.vduId], known, 'VDU', () => `${path}.vduId`);
  }
  const included = descriptor.includedVduIds;
  if (included.length > 0 && !included.includes(vnfc.vduId)) {
    const description = `"${vnfc.vduId}" is not in snapshotDescriptor.includedVduIds, so it has no snapshot`;
    return [{ field: `${path}.vduId`, description }];
  }
  const pathOf = (i: number) => `${path}.includedStorageIds[${i}]`;
  const own = new Set(vdu.virtualStorageDesc);
  const independent = new Set(
    vnfd.virtualStorageDesc.filter((desc) => desc.independent).map((desc) => desc.id),
  );
  return [
    ...unresolved(vnfc.includedStorageIds, own, `storage of VDU "${vdu.vduId}"`, pathOf),
    ...duplicates(vnfc.includedStorageIds, (id) => id, pathOf),
    ...vnfc.includedStorageIds.flatMap((id, i) => {
      if (!independent.has(id)) return [];
      return [{ field: pathOf(i), description: `"${id}" is independent, so no snapshot has it` }];
    }),
  ];
}

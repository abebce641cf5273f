import { isIPv4 } from 'node:net';
import type { Vdu, VirtualStorageDesc, Vnfd } from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import type { FieldViolation } from '../../../sdk/errors.ts';
import { duplicates, unresolved } from './names.ts';

/** Images of a snapshot have these names, so no disk may. */
const reservedImageNames: ReadonlySet<string> = new Set(['memory', 'device-state']);
/** The identifier of a volume is made of both names and must stay below 128 bytes. */
const vduAndStorageBytesMax = 100;
const guestParameterKey = /^[a-z0-9_.]+$/;

/** Faults of VDUs, compute, storage and virtual link descriptions. */
export function componentViolations(vnfd: Vnfd): FieldViolation[] {
  return [
    ...duplicates(
      vnfd.vdu,
      (vdu) => vdu.vduId,
      (i) => `vdu[${i}].vduId`,
    ),
    ...duplicates(
      vnfd.virtualComputeDesc,
      (desc) => desc.virtualComputeDescId,
      (i) => `virtualComputeDesc[${i}].virtualComputeDescId`,
    ),
    ...duplicates(
      vnfd.virtualStorageDesc,
      (desc) => desc.id,
      (i) => `virtualStorageDesc[${i}].id`,
    ),
    ...duplicates(
      vnfd.intVirtualLinkDesc,
      (desc) => desc.virtualLinkDescId,
      (i) => `intVirtualLinkDesc[${i}].virtualLinkDescId`,
    ),
    ...vnfd.virtualStorageDesc.flatMap(storageViolations),
    ...vnfd.vdu.flatMap((vdu, index) => vduViolations(vnfd, vdu, `vdu[${index}]`)),
    ...environmentViolations(vnfd),
    ...addressViolations(vnfd),
  ];
}

function storageViolations(desc: VirtualStorageDesc, index: number): FieldViolation[] {
  const path = `virtualStorageDesc[${index}]`;
  const found: FieldViolation[] = [];
  if (desc.sizeOfStorageMib === 0n && desc.swImage === '') {
    const description = 'must be above 0 when no swImage is named';
    found.push({ field: `${path}.sizeOfStorageMib`, description });
  }
  if (reservedImageNames.has(desc.id)) {
    const description = `"${desc.id}" names the image of the memory or devices in snapshots; choose another`;
    found.push({ field: `${path}.id`, description });
  }
  return found;
}

function vduViolations(vnfd: Vnfd, vdu: Vdu, path: string): FieldViolation[] {
  const computes = new Set(vnfd.virtualComputeDesc.map((desc) => desc.virtualComputeDescId));
  const storages = new Set(vnfd.virtualStorageDesc.map((desc) => desc.id));
  const links = new Set(vnfd.intVirtualLinkDesc.map((desc) => desc.virtualLinkDescId));
  const storagePath = (i: number) => `${path}.virtualStorageDesc[${i}]`;
  return [
    ...unresolved([vdu.virtualComputeDesc], computes, 'virtualComputeDesc', () => {
      return `${path}.virtualComputeDesc`;
    }),
    ...unresolved(vdu.virtualStorageDesc, storages, 'virtualStorageDesc', storagePath),
    ...duplicates(vdu.virtualStorageDesc, (name) => name, storagePath),
    ...tooLong(vdu, storagePath),
    ...unresolved(
      vdu.intCpd.map((cpd) => cpd.intVirtualLinkDesc),
      links,
      'intVirtualLinkDesc',
      (i) => `${path}.intCpd[${i}].intVirtualLinkDesc`,
    ),
    ...duplicates(
      vdu.intCpd,
      (cpd) => cpd.cpdId,
      (i) => `${path}.intCpd[${i}].cpdId`,
    ),
    ...Object.keys(vdu.guestParameters)
      .filter((key) => !guestParameterKey.test(key))
      .map((key) => ({
        field: `${path}.guestParameters["${key}"]`,
        description: 'keys are made of a-z, 0-9, "_" and "."',
      })),
  ];
}

function tooLong(vdu: Vdu, pathOf: (index: number) => string): FieldViolation[] {
  return vdu.virtualStorageDesc.flatMap((name, index) => {
    if (vdu.vduId.length + name.length <= vduAndStorageBytesMax) return [];
    const description = `the names of the VDU and of the storage have more than ${vduAndStorageBytesMax} bytes together`;
    return [{ field: pathOf(index), description }];
  });
}

/** A virtual link is a network of one driver, so all that it joins must run on one technology. */
function environmentViolations(vnfd: Vnfd): FieldViolation[] {
  const computes = new Map(
    vnfd.virtualComputeDesc.map((desc) => [desc.virtualComputeDescId, desc]),
  );
  const first = new Map<string, string>();
  return vnfd.vdu.flatMap((vdu, index) => {
    const environment = computes.get(vdu.virtualComputeDesc)?.virtualisationEnvironment ?? '';
    if (environment === '') return [];
    return vdu.intCpd.flatMap((cpd, at) => {
      const other = first.get(cpd.intVirtualLinkDesc) ?? environment;
      first.set(cpd.intVirtualLinkDesc, other);
      if (other === environment) return [];
      const description = `the link joins VDUs on "${other}" and on "${environment}"; one link is on one technology`;
      return [{ field: `vdu[${index}].intCpd[${at}].intVirtualLinkDesc`, description }];
    });
  });
}

function addressViolations(vnfd: Vnfd): FieldViolation[] {
  const taken = new Map<string, string>();
  return vnfd.vdu.flatMap((vdu, index) =>
    vdu.intCpd.flatMap((cpd, at) => {
      if (cpd.ipAddress === '') return [];
      const field = `vdu[${index}].intCpd[${at}].ipAddress`;
      const [address = '', prefix = '', ...rest] = cpd.ipAddress.split('/');
      const sound = isIPv4(address) && /^\d{1,2}$/.test(prefix) && Number(prefix) <= 32;
      if (!sound || rest.length > 0) {
        const description = `"${cpd.ipAddress}" is no IPv4 address with a prefix length, for example "10.10.0.2/24"`;
        return [{ field, description }];
      }
      const key = `${cpd.intVirtualLinkDesc} ${address}`;
      const before = taken.get(key);
      if (before === undefined) {
        taken.set(key, field);
        return [];
      }
      return [
        { field, description: `"${address}" is given on the same link at ${before} already` },
      ];
    }),
  );
}

import type {
  ComputeSpec,
  VolumeAttachment,
} from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { failedPrecondition, type RpcError } from '../../../sdk/errors.ts';
import type { Core } from './core.ts';
import { unknown } from './inventory.ts';
import { memoryMibMax } from './limits.ts';
import type { ProgramFacts } from './program/fitness.ts';
import { badField } from './refusals.ts';

/** Names of images in a snapshot that are not disks. */
export const memoryImage = 'memory';
export const deviceStateImage = 'device-state';
const reservedNames = new Set([memoryImage, deviceStateImage]);
const macPattern = /^[0-9a-fA-F][02468aceACE](:[0-9a-fA-F]{2}){5}$/;
const parameterPattern = /^[a-z0-9_.]+$/;
const pagesPerMib = 16;

/** Checks what the descriptors of the fields cannot: that a spec can be a guest of this driver. */
export function checkSpec(core: Core, spec: ComputeSpec, program: ProgramFacts): void {
  if (spec.virtualCpus > 1) throw badField('spec.virtual_cpus', 'must be 1: a guest is one thread');
  if (spec.memoryMib > memoryMibMax) {
    throw badField('spec.memory_mib', `must be at most ${memoryMibMax}`);
  }
  if (spec.memoryMib > 0 && spec.memoryMib * pagesPerMib < program.pagesMin) {
    const least = Math.ceil(program.pagesMin / pagesPerMib);
    throw badField('spec.memory_mib', `must be at least ${least} for this image`);
  }
  for (const [index, attachment] of spec.volumes.entries()) {
    const earlier = spec.volumes.slice(0, index);
    checkAttachment(core, earlier, attachment, `spec.volumes[${index}]`);
  }
  for (const [index, { networkId, macAddress }] of spec.interfaces.entries()) {
    if (!core.inventory.networks.has(networkId)) unknown('NETWORK_UNKNOWN', 'network', networkId);
    if (macAddress && !macPattern.test(macAddress)) {
      const rule = 'must be a unicast MAC address like "52:54:00:12:34:56"';
      throw badField(`spec.interfaces[${index}].mac_address`, rule);
    }
  }
  for (const key of Object.keys(spec.guestParameters)) {
    if (!parameterPattern.test(key)) {
      throw badField(
        'spec.guest_parameters',
        `has the key ${JSON.stringify(key)}; keys are of [a-z0-9_.]`,
      );
    }
  }
}

/** Checks a volume that is to be attached beside others. */
export function checkAttachment(
  core: Core,
  others: readonly VolumeAttachment[],
  attachment: VolumeAttachment,
  path: string,
): void {
  if (reservedNames.has(attachment.name)) {
    throw badField(
      `${path}.name`,
      `must not be ${attachment.name}: images of that name are not disks`,
    );
  }
  if (others.some(({ name }) => name === attachment.name)) {
    throw badField(`${path}.name`, `${attachment.name} is taken by another volume`);
  }
  if (!core.inventory.volumes.has(attachment.volumeId)) {
    unknown('VOLUME_UNKNOWN', 'volume', attachment.volumeId);
  }
  const owner = core.inventory.ownerOf(attachment.volumeId)?.id;
  const twice = others.some(({ volumeId }) => volumeId === attachment.volumeId);
  if (owner !== undefined || twice) throw volumeAttached(attachment.volumeId, owner ?? 'this one');
}

/** The volumes of a compute resource, with those that count among them although they are detached. */
export function withDetached(
  core: Core,
  attached: readonly VolumeAttachment[],
  detached: readonly VolumeAttachment[],
): VolumeAttachment[] {
  const all = [...attached];
  for (const [index, attachment] of detached.entries()) {
    if (attached.some(({ volumeId }) => volumeId === attachment.volumeId)) continue;
    checkAttachment(core, all, attachment, `detached_volumes[${index}]`);
    all.push(attachment);
  }
  return all;
}

export function volumeAttached(volumeId: string, computeId: string): RpcError {
  const text = `volume ${volumeId} is attached to compute ${computeId}; detach it first`;
  return failedPrecondition('VOLUME_ATTACHED', text, {
    volume_id: volumeId,
    compute_id: computeId,
  });
}

/** Volumes that were detached from a compute resource, and are captured or brought back with it. */
import type { VolumeAttachment } from '../../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { failedPrecondition, invalidArgument } from '../../../../sdk/errors.ts';
import { unknownVolume } from '../errors.ts';
import { ownerOf } from '../service/messages.ts';
import type { DriverContext } from '../state/context.ts';
import type { Attachment, ComputeRecord } from '../state/records.ts';

/** Those that are not attached to it again by now. */
export function detachedOf(
  context: DriverContext,
  { attachments }: ComputeRecord,
  asked: readonly VolumeAttachment[],
): Attachment[] {
  const detached = asked
    .filter(({ volumeId }) => !attachments.some((attached) => attached.volumeId === volumeId))
    .map(({ volumeId, name }) => ({ volumeId, name }));
  const names = [...attachments, ...detached].map(({ name }) => name);
  if (new Set(names).size < names.length) {
    throw invalidArgument('FIELD_VIOLATION', 'detached_volumes: a name is there twice');
  }
  for (const { volumeId } of detached) {
    if (!context.store.get('volume', volumeId)) throw unknownVolume(volumeId);
  }
  assertDetached(context, detached);
  return detached;
}

/** FAILED_PRECONDITION with reason VOLUME_ATTACHED when somebody has one of them. */
export function assertDetached(context: DriverContext, detached: readonly Attachment[]): void {
  for (const { volumeId } of detached) {
    const owner = ownerOf(context, volumeId);
    if (owner === undefined) continue;
    const text = `volume ${volumeId} is attached to ${owner.computeId}`;
    throw failedPrecondition('VOLUME_ATTACHED', text, { volume_id: volumeId });
  }
}

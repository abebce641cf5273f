/**
 * Detaching and attaching volumes around their snapshot and their reversion: GR NFV-TST 005 clause 6.4.1 steps 9 and 30, clause
 * 6.4.3 steps 9 and 21 (Vnfsd.011, Vnfsd.012).
 */
import type { JsonValue } from '@bufbuild/protobuf';
import type { Step, StepContext } from '../../../sdk/operations/engine.ts';
import type { VimClients } from '../peers.ts';
import type { Disk } from '../plan/situation.ts';
import { callOf } from './define.ts';
import { quickCallMs } from './phases.ts';

type Target = { vnfcInstanceId: string; computeId: string };
type Place = { clause: '6.4.1' | '6.4.3'; clauseStep: string; phase?: string };

/** Detaches the volumes. Undone, they are attached again. */
export function detachStep<I extends JsonValue>(
  vim: VimClients,
  vnfc: Target & { detach: readonly Disk[] },
  place: Place,
): Step<I> {
  const { vnfcInstanceId, computeId, detach } = vnfc;
  return {
    ...header(`detach ${vnfcInstanceId}`, vnfc, place),
    run: async (context) => {
      for (const { storageId } of detach) {
        await vim.compute.detachVirtualisedStorageResource(
          { computeId, storageId, call: callOf(context, storageId) },
          { signal: context.signal, deadlineMs: quickCallMs },
        );
      }
      context.note(named(detach));
    },
    compensate: (context) => attach(vim, computeId, detach, context, 'undo'),
  };
}

/** Attaches the volumes where they were. It is what the descriptor wants in the end, so it stays when the rest is undone. */
export function attachStep<I extends JsonValue>(
  vim: VimClients,
  vnfc: Target & { attach: readonly Disk[] },
  place: Place,
): Step<I> {
  return {
    ...header(`attach ${vnfc.vnfcInstanceId}`, vnfc, place),
    run: async (context) => {
      await attach(vim, vnfc.computeId, vnfc.attach, context);
      context.note(named(vnfc.attach));
    },
  };
}

/** Those that are attached already stay as they are. */
export async function attach(
  vim: VimClients,
  computeId: string,
  disks: readonly Disk[],
  context: StepContext,
  what = '',
): Promise<void> {
  // Each comes to its place among those that are there by then.
  for (const disk of disks.toSorted((one, other) => one.position - other.position)) {
    const { storageId, position } = disk;
    await vim.compute.attachVirtualisedStorageResource(
      {
        computeId,
        attachment: attachmentOf(disk),
        position,
        call: callOf(context, what === '' ? storageId : `${storageId}/${what}`),
      },
      { signal: context.signal, deadlineMs: quickCallMs },
    );
  }
}

/** A volume in its place, as the driver knows it. */
export function attachmentOf({ storageId, name, boot }: Disk) {
  return { volumeId: storageId, name, boot };
}

const named = (disks: readonly Disk[]) => disks.map(({ name }) => name).join(', ');

function header(name: string, { vnfcInstanceId }: Target, place: Place) {
  const who = { caller: 'vnfm', callee: 'vim', vnfcInstanceId };
  return { name, ...place, ...who, deadlineMs: 60_000, retryable: true };
}

import {
  InstantiationState,
  type VnfInstance,
} from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { failedPrecondition } from '../../../sdk/errors.ts';
import type { Transaction } from '../../../sdk/records/record-store.ts';
import { requireRecord, unknownVnf, vnfInstances } from '../records.ts';
import { checkFree, type Use } from '../usage.ts';
import type { VnfmServices } from '../vnfm.ts';

export const vnfUse = (id: string): Use => ({ kind: 'vnf', id, mode: 'exclusive' });

/** What operations on an instantiated VNF have in common. */
export function vnfInput(vnf: VnfInstance) {
  return {
    uses: [vnfUse(vnf.id)],
    vnfInstanceId: vnf.id,
    vnfdId: vnf.vnfdId,
    vim: vnf.instantiatedVnfInfo?.vimConnectionId ?? '',
  };
}

/** A VNF in this state that no operation is going on with. */
export async function freeVnf(
  vnfm: VnfmServices,
  id: string,
  state: InstantiationState,
): Promise<VnfInstance> {
  const { value } = await requireRecord(vnfm.store, vnfInstances, id, unknownVnf);
  await checkFree(vnfm.store, vnfUse(id));
  requireState(value, state);
  return value;
}

/** The same in the transaction that accepts: another operation may have come and gone since. */
export async function stillIn(
  tx: Transaction,
  id: string,
  state: InstantiationState,
): Promise<void> {
  requireState((await requireRecord(tx, vnfInstances, id, unknownVnf)).value, state);
}

/** FAILED_PRECONDITION with reason VNF_NOT_INSTANTIATED or VNF_INSTANTIATED. */
export function requireState(
  { id, instantiationState }: VnfInstance,
  state: InstantiationState,
): void {
  if (instantiationState === state) return;
  const wanted = state === InstantiationState.INSTANTIATED;
  const reason = wanted ? 'VNF_NOT_INSTANTIATED' : 'VNF_INSTANTIATED';
  const text = wanted
    ? `VNF "${id}" is not instantiated; instantiate it first`
    : `VNF "${id}" is instantiated; terminate it first`;
  throw failedPrecondition(reason, text, { vnf_instance_id: id });
}

import type { Random } from '../../sdk/ports/random.ts';
import { jsonCollection, type Transaction } from '../../sdk/records/record-store.ts';

/**
 * The run of a VNF between two reversions has a random id, which the VNF is told: a new one says
 * that time went back.
 */
const generations = jsonCollection<{ generationId: string }>('generations');

/** The present generation; empty for a VNF that never ran. */
export async function generationOf(store: Transaction, vnfInstanceId: string): Promise<string> {
  return (await store.collection(generations).get(vnfInstanceId))?.value.generationId ?? '';
}

/** Begins a new generation, when the VNF is instantiated or reverted. */
export async function beginGeneration(
  tx: Transaction,
  vnfInstanceId: string,
  random: Random,
): Promise<void> {
  await tx.collection(generations).put(vnfInstanceId, { generationId: random.uuid() });
}

/** Forgets a VNF. */
export async function endGeneration(tx: Transaction, vnfInstanceId: string): Promise<void> {
  await tx.collection(generations).delete(vnfInstanceId);
}

import { create } from '@bufbuild/protobuf';
import { SnapshotPurpose } from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { CreateVnfSnapshotRequestSchema } from '../../../gen/nfv/vnf_lcm/v1/vnf_lcm_service_pb.js';
import { isRpcError } from '../../../sdk/errors.ts';
import { jsonCollection, type Transaction } from '../../../sdk/records/record-store.ts';
import { vnfInstances } from '../records.ts';
import type { Vnfm } from '../vnfm.ts';
import { consistencyOfUnwell } from './diagnosis.ts';
import { Repeated } from './repeated.ts';

/** A snapshot that is due since its components were powered off; by the operation that did it. */
type Due = { vnfInstanceId: string; vnfcInstanceIds: string[] };

const due = jsonCollection<Due>('power-off-snapshots');
const lookEveryMs = 1_000;

/** Remembers in the transaction that ends the operation (Vnfsd.013). */
export async function rememberPowerOff(
  tx: Transaction,
  operationId: string,
  input: { vnfInstanceId: string; snapshotAfter: string[] },
): Promise<void> {
  const { vnfInstanceId, snapshotAfter: vnfcInstanceIds } = input;
  await tx.collection(due).put(operationId, { vnfInstanceId, vnfcInstanceIds });
}

/** Takes the snapshots that a descriptor wants of components that were powered off (Vnfsd.013). */
export function powerOffSnapshots(vnfm: Vnfm): Repeated {
  const { store, clock, logger } = vnfm;
  return new Repeated(clock, lookEveryMs, async (signal) => {
    try {
      const { records } = await store.collection(due).list();
      for (const { id, value } of records) await take(vnfm, id, value, signal);
    } catch (error) {
      if (!signal.aborted) logger.error('snapshots at power off cannot be read', { error });
    }
  });
}

async function take(
  { store, own, logger }: Vnfm,
  operationId: string,
  { vnfInstanceId, vnfcInstanceIds }: Due,
  signal: AbortSignal,
): Promise<void> {
  try {
    const vnf = await store.collection(vnfInstances).get(vnfInstanceId);
    const consistency = consistencyOfUnwell(vnf?.value.vnfd);
    // The same request after a crash finds the operation that it had started.
    const id = await own.start(`power-off/${operationId}`, signal, (lcm, requestId, call) =>
      lcm.createVnfSnapshot(
        create(CreateVnfSnapshotRequestSchema, {
          ...{ vnfInstanceId, vnfcInstanceIds, consistency, requestId },
          ...{ name: 'power off', purpose: SnapshotPurpose.BACKUP },
        }),
        call,
      ),
    );
    logger.info('what was powered off is being captured', { vnf: vnfInstanceId, operation: id });
  } catch (error) {
    // Another operation was faster: it is taken after that one, of what is there then.
    if (signal.aborted || isRpcError(error, 'OPERATION_IN_PROGRESS')) return;
    logger.warn('no snapshot of what was powered off', { vnf: vnfInstanceId, error });
  }
  await store.collection(due).delete(operationId);
}

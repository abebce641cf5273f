import {
  NotificationResult,
  VnfSnapshotNotificationService,
} from '../../../gen/nfv/vnf_snapshot_notification/v1/vnf_snapshot_notification_pb.js';
import { invalidArgument } from '../../../sdk/errors.ts';
import { implement, type ServiceImplementation } from '../../../sdk/server.ts';
import { requireRecord, unknownVnf, vnfInstances } from '../records.ts';
import type { Vnfm } from '../vnfm.ts';

/** How VNFs learn of snapshots and reversions, and answer. */
export function notificationService(vnfm: Vnfm): ServiceImplementation {
  const { hub, store, logger } = vnfm;
  return implement(
    VnfSnapshotNotificationService,
    {
      watchVnfSnapshotNotifications: async function* ({ vnfInstanceId }, { signal }) {
        await requireRecord(store, vnfInstances, vnfInstanceId, unknownVnf);
        const stream = await hub.open(vnfInstanceId);
        const end = () => stream.end();
        signal.addEventListener('abort', end, { once: true });
        if (signal.aborted) end();
        try {
          yield {};
          for await (const notification of stream) yield { notification };
        } finally {
          signal.removeEventListener('abort', end);
          stream.end();
        }
      },
      respondToVnfSnapshotNotification: async ({ notificationId, result, detail }) => {
        if (!(result in NotificationResult)) {
          const text = `result ${result} means nothing; answer CONTINUE or ABORT`;
          throw invalidArgument('RESULT_UNKNOWN', text, { result: String(result) });
        }
        await hub.answer(notificationId, result, detail);
        return {};
      },
    },
    { logger },
  );
}

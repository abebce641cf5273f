import type { ExecutionContext } from 'ava';
import {
  NotificationResult,
  NotificationType,
  type VnfSnapshotNotification,
} from '../../../gen/nfv/vnf_snapshot_notification/v1/vnf_snapshot_notification_pb.js';
import { eventually } from '../eventually.ts';
import type { Clients } from './rig.ts';

export type FakeVnf = {
  /** What it heard, in order. */
  heard: VnfSnapshotNotification[];
  names(): string[];
  close(): void;
};

type Behaviour = (notification: VnfSnapshotNotification) => 'continue' | 'abort' | 'silent';

/** A VNF that watches and answers; `behave` decides how. It is reachable when this returns. */
export async function watchAsVnf(
  t: ExecutionContext,
  { notifications }: Pick<Clients, 'notifications'>,
  vnfInstanceId: string,
  behave: Behaviour = () => 'continue',
): Promise<FakeVnf> {
  const heard: VnfSnapshotNotification[] = [];
  const stop = new AbortController();
  const state = { standing: false };
  const watch = async () => {
    const stream = notifications.watchVnfSnapshotNotifications(
      { vnfInstanceId },
      { signal: stop.signal },
    );
    for await (const { notification } of stream) {
      state.standing = true;
      if (!notification) continue;
      heard.push(notification);
      const answer = behave(notification);
      if (answer === 'silent') continue;
      const { CONTINUE, ABORT } = NotificationResult;
      await notifications.respondToVnfSnapshotNotification({
        notificationId: notification.notificationId,
        result: answer === 'abort' ? ABORT : CONTINUE,
        detail: answer === 'abort' ? 'a call is being set up' : '',
      });
    }
  };
  // A stream that ends because the test or the VNFM ends is no failure; what was heard is what
  // tests look at.
  const running = watch().catch(() => {});
  t.teardown(async () => {
    stop.abort();
    await running;
  });
  await eventually('the watch stands', () => state.standing);
  return {
    heard,
    names: () =>
      heard.map(({ type, success }) => `${NotificationType[type]}${success ? ' ok' : ''}`),
    close: () => stop.abort(),
  };
}

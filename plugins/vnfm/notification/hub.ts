import {
  create,
  fromJson,
  type JsonObject,
  type MessageInitShape,
  toJson,
} from '@bufbuild/protobuf';
import { timestampFromMs, timestampMs } from '@bufbuild/protobuf/wkt';
import {
  NotificationResult,
  NotificationType,
  type VnfSnapshotNotification,
  VnfSnapshotNotificationSchema,
} from '../../../gen/nfv/vnf_snapshot_notification/v1/vnf_snapshot_notification_pb.js';
import { failedPrecondition, notFound, resourceExhausted } from '../../../sdk/errors.ts';
import type { Clock } from '../../../sdk/ports/clock.ts';
import {
  jsonCollection,
  type RecordStore,
  recordPageMax,
} from '../../../sdk/records/record-store.ts';
import { NotificationStream } from './stream.ts';

/** Streams of one VNF at the same time. */
export const streamsPerVnfMax = 16;

/** The answer of a VNF. */
export type Answer = { result: 'continue' | 'abort'; detail: string };

/**
 * A notification as it is kept: it outlives the process, so that every START that was sent gets its
 * END.
 */
type Kept = { notification: JsonObject; vnf: string; answer: Answer | null; closed: boolean };

const notifications = jsonCollection<Kept>('snapshot-notifications');

type NotificationInit = Omit<
  MessageInitShape<typeof VnfSnapshotNotificationSchema>,
  '$typeName'
> & {
  notificationId: string;
  vnfInstanceId: string;
};

/** Sends notifications to VNFs and collects their answers (GR NFV-TST 005 clause 7.5.6). */
export class NotificationHub {
  readonly #store: RecordStore;
  readonly #clock: Clock;
  readonly #streams = new Map<string, Set<NotificationStream>>();
  /** Woken by each answer; by notification. */
  readonly #waiting = new Map<string, (answer: Answer) => void>();

  constructor(store: RecordStore, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  /** True while the VNF has a stream open. */
  isReachable(vnf: string): boolean {
    return (this.#streams.get(vnf)?.size ?? 0) > 0;
  }

  /**
   * Opens a stream of one VNF; what still waits for an answer comes first. RESOURCE_EXHAUSTED with
   * reason TOO_MANY_STREAMS above 16 of one VNF.
   */
  async open(vnf: string): Promise<NotificationStream> {
    const streams = this.#streams.get(vnf) ?? new Set();
    if (streams.size >= streamsPerVnfMax) {
      const text = `VNF "${vnf}" has ${streamsPerVnfMax} streams open; close one`;
      throw resourceExhausted('TOO_MANY_STREAMS', text, { vnf_instance_id: vnf });
    }
    const stream = new NotificationStream(() => {
      streams.delete(stream);
      if (streams.size === 0) this.#streams.delete(vnf);
    });
    streams.add(stream);
    this.#streams.set(vnf, streams);
    for (const { value } of await this.#ofVnf(vnf)) {
      if (!value.closed && value.answer === null) stream.push(parse(value));
    }
    return stream;
  }

  /**
   * Sends a notification. One that was sent before under the same id is sent again as it was, its
   * answer kept.
   */
  async send(init: NotificationInit): Promise<VnfSnapshotNotification> {
    const notification = create(VnfSnapshotNotificationSchema, init);
    const kept = await this.#store.transaction(async (tx) => {
      const collection = tx.collection(notifications);
      const before = await collection.get(notification.notificationId);
      if (before) return before.value;
      const value: Kept = {
        notification: toJson(VnfSnapshotNotificationSchema, notification) as JsonObject,
        vnf: notification.vnfInstanceId,
        answer: null,
        closed: false,
      };
      await collection.insert(notification.notificationId, value);
      return value;
    });
    const sent = parse(kept);
    for (const stream of this.#streams.get(sent.vnfInstanceId) ?? []) stream.push(sent);
    return sent;
  }

  /** The answer to a notification, or undefined when its deadline passes first. */
  async answerTo(sent: VnfSnapshotNotification, signal: AbortSignal): Promise<Answer | undefined> {
    const id = sent.notificationId;
    const finished = new AbortController();
    const answered = new Promise<Answer>((resolve) => this.#waiting.set(id, resolve));
    try {
      const early = await this.given(id);
      if (early) return early;
      const deadlineMs = sent.responseDeadline ? timestampMs(sent.responseDeadline) : 0;
      const leftMs = Math.max(0, deadlineMs - this.#clock.now().getTime());
      const waited = this.#clock.sleep(leftMs, AbortSignal.any([signal, finished.signal]));
      const answer = await Promise.race([answered, waited.then(() => undefined)]);
      return answer ?? (await this.given(id));
    } finally {
      finished.abort();
      this.#waiting.delete(id);
    }
  }

  /** The answer that was given by now. */
  async given(id: string): Promise<Answer | undefined> {
    return (await this.#store.collection(notifications).get(id))?.value.answer ?? undefined;
  }

  /** A notification as it was sent. */
  async sent(id: string): Promise<VnfSnapshotNotification | undefined> {
    const found = await this.#store.collection(notifications).get(id);
    return found && parse(found.value);
  }

  /**
   * Takes an answer in. A veto wins over other answers as long as the notification is open.
   * NOT_FOUND with reason NOTIFICATION_UNKNOWN; FAILED_PRECONDITION with reason
   * NOTIFICATION_CLOSED.
   */
  async answer(id: string, result: NotificationResult, detail: string): Promise<void> {
    const answer: Answer = {
      result: result === NotificationResult.ABORT ? 'abort' : 'continue',
      detail,
    };
    const nowMs = this.#clock.now().getTime();
    await this.#store.transaction(async (tx) => {
      const found = await tx.collection(notifications).get(id);
      if (!found) {
        const text = `there is no notification "${id}"`;
        throw notFound('NOTIFICATION_UNKNOWN', text, { notification_id: id });
      }
      const late = isStart(parse(found.value)) && isPast(found.value, nowMs);
      if (found.value.closed || (late && found.value.answer === null)) throw closed(id);
      if (found.value.answer?.result === 'abort') return;
      await tx.collection(notifications).update(id, { ...found.value, answer });
    });
    this.#waiting.get(id)?.(answer);
  }

  /** Answers that come from now on are too late. */
  async close(id: string): Promise<void> {
    await this.#store.transaction(async (tx) => {
      const found = await tx.collection(notifications).get(id);
      if (found) await tx.collection(notifications).update(id, { ...found.value, closed: true });
    });
  }

  /** Forgets what was sent to a VNF before the notifications of a new operation. */
  async forget(vnf: string, exceptOperation = ''): Promise<void> {
    for (const { id, value } of await this.#ofVnf(vnf)) {
      if (exceptOperation !== '' && parse(value).vnfLcmOpOccId === exceptOperation) continue;
      await this.#store.collection(notifications).delete(id);
    }
  }

  /** Ends all streams; their VNFs open new ones after a restart. */
  stop(): void {
    for (const streams of this.#streams.values()) for (const stream of streams) stream.end();
  }

  async #ofVnf(vnf: string) {
    // At most two notifications are kept for each VNF, so one page holds those of 500.
    const found = [];
    let after: string | undefined;
    do {
      const page = await this.#store.collection(notifications).list({
        order: 'oldest',
        limit: recordPageMax,
        ...(after !== undefined && { after }),
      });
      found.push(...page.records.filter(({ value }) => value.vnf === vnf));
      after = page.next;
    } while (after !== undefined);
    return found;
  }
}

/** Milliseconds since 1970 as the contract's type. */
export const timeOf = (ms: number) => timestampFromMs(Math.round(ms));

function parse({ notification }: Kept): VnfSnapshotNotification {
  return fromJson(VnfSnapshotNotificationSchema, notification);
}

function isStart({ type }: VnfSnapshotNotification): boolean {
  return (
    type === NotificationType.SNAPSHOT_CREATION_START ||
    type === NotificationType.SNAPSHOT_REVERSION_START
  );
}

function isPast(kept: Kept, nowMs: number): boolean {
  const { responseDeadline } = parse(kept);
  return responseDeadline !== undefined && timestampMs(responseDeadline) < nowMs;
}

function closed(id: string) {
  const text = `notification "${id}" is closed: its deadline has passed or the operation ended; resume normal operation`;
  return failedPrecondition('NOTIFICATION_CLOSED', text, { notification_id: id });
}

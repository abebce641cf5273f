import type { VnfSnapshotNotification } from '../../../gen/nfv/vnf_snapshot_notification/v1/vnf_snapshot_notification_pb.js';

/** Notifications that wait for a slow VNF; the oldest are dropped, because newer ones say more. */
const queuedMax = 64;

/** The notifications of one open stream, for one reader. */
export class NotificationStream implements AsyncIterable<VnfSnapshotNotification> {
  readonly #closed: () => void;
  #queue: VnfSnapshotNotification[] = [];
  #wake: (() => void) | undefined;
  #ended = false;

  constructor(closed: () => void) {
    this.#closed = closed;
  }

  push(notification: VnfSnapshotNotification): void {
    this.#queue.push(notification);
    if (this.#queue.length > queuedMax) this.#queue.shift();
    this.#wake?.();
  }

  /** Ends the reader's loop; the VNF does not count as reachable over this stream any more. */
  end(): void {
    this.#ended = true;
    this.#closed();
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<VnfSnapshotNotification> {
    while (!this.#ended) {
      const next = this.#queue.shift();
      if (next) yield next;
      else await this.#more();
    }
  }

  #more(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}

import { CoreError } from './errors.ts';
import { type Slot, slotAt } from './layout.ts';

/** Most runs that wait for a slot: enough for every run of a 256 GiB image started at once. */
export const runsWaitingMax = 65536;

type Waiter = { resolve(slot: Slot): void; reject(error: CoreError): void };

/** The slots of a pool, given out in the order in which they were asked for. */
export class Slots {
  private readonly free: Slot[];
  private readonly waiters: Waiter[] = [];
  private isClosed = false;

  constructor(count: number, instances: number) {
    this.free = Array.from({ length: count }, (_, index) => slotAt(index, instances));
  }

  /** Resolves when a slot is free. Rejects with QUEUE_FULL or POOL_CLOSED. */
  async take(): Promise<Slot> {
    if (this.isClosed) throw new CoreError('POOL_CLOSED', 'the pool is closed');
    const slot = this.free.pop();
    if (slot) return slot;
    if (this.waiters.length >= runsWaitingMax) {
      const message = `${runsWaitingMax} runs wait for a slot already: await some of them first`;
      throw new CoreError('QUEUE_FULL', message, { waiting: runsWaitingMax });
    }
    return new Promise((resolve, reject) => this.waiters.push({ resolve, reject }));
  }

  /** Gives a slot back, to the one who has waited longest. */
  give(slot: Slot): void {
    const next = this.waiters.shift();
    if (next) next.resolve(slot);
    else this.free.push(slot);
  }

  close(): void {
    this.isClosed = true;
    const closed = new CoreError('POOL_CLOSED', 'the pool was closed before this run began');
    for (const waiter of this.waiters.splice(0)) waiter.reject(closed);
  }
}

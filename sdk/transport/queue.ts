import { setImmediate } from 'node:timers/promises';

/** Items that may pass before other work of the process gets a turn. */
const pushesPerTurn = 64;

/**
 * A bounded queue between one writer side and one reader. The writer waits for room; the reader
 * waits for items. `end` lets the reader finish what is queued, `abort` drops it.
 */
export class BoundedQueue<T> implements AsyncIterable<T> {
  readonly #limit: number;
  readonly #onLeave: () => void;
  readonly #onRoom: () => void;
  #items: T[] = [];
  #pushCount = 0;
  #ended = false;
  #wakeReader: (() => void) | undefined;
  #waitingWriters: (() => void)[] = [];

  /** `onLeave` is called when the reader stops before the end; `onRoom` when an item was taken. */
  constructor(limit: number, onLeave: () => void = () => {}, onRoom: () => void = () => {}) {
    this.#limit = limit;
    this.#onLeave = onLeave;
    this.#onRoom = onRoom;
  }

  get hasRoom(): boolean {
    return this.#items.length < this.#limit;
  }

  /** Adds an item; resolves when there is room for the next one. An ended queue drops the item. */
  async push(item: T): Promise<void> {
    if (this.#ended) return;
    this.#items.push(item);
    this.#wakeReader?.();
    // Two ends that only ever wake each other would never let a timer run, a deadline's for
    // example.
    if (++this.#pushCount % pushesPerTurn === 0) await setImmediate();
    while (!this.#ended && !this.hasRoom) {
      await new Promise<void>((resolve) => this.#waitingWriters.push(resolve));
    }
  }

  end(): void {
    this.#ended = true;
    this.#wakeReader?.();
    this.#wakeWriters();
  }

  abort(): void {
    this.#items = [];
    this.end();
  }

  async *[Symbol.asyncIterator](): AsyncIterator<T> {
    let finished = false;
    try {
      for (;;) {
        while (this.#items.length > 0) {
          const item = this.#items.shift() as T;
          this.#wakeWriters();
          this.#onRoom();
          yield item;
        }
        if (this.#ended) break;
        await new Promise<void>((resolve) => {
          this.#wakeReader = resolve;
        });
        this.#wakeReader = undefined;
      }
      finished = true;
    } finally {
      if (!finished) this.#onLeave();
    }
  }

  #wakeWriters(): void {
    const writers = this.#waitingWriters;
    this.#waitingWriters = [];
    for (const wake of writers) wake();
  }
}

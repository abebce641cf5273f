import type { LifecycleOperationOccurrence } from '../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { resourceExhausted } from '../errors.ts';

/** Wakes whoever follows an operation. Watchers hold no queue: each reads the newest state when it gets to it. */
export class Watchers {
  readonly #watchersMax: number;
  readonly #wake = new Map<string, Set<() => void>>();
  #count = 0;

  constructor(watchersMax: number) {
    this.#watchersMax = watchersMax;
  }

  /** Says that the occurrence has changed. */
  changed(id: string): void {
    for (const wake of this.#wake.get(id) ?? []) wake();
  }

  /** Wakes all, when the engine stops. */
  changedAll(): void {
    for (const id of this.#wake.keys()) this.changed(id);
  }

  /**
   * Yields `read()` whenever its revision has grown above `afterRevision` and above what was yielded, until `last`
   * says that this was the last. RESOURCE_EXHAUSTED with reason TOO_MANY_WATCHERS.
   */
  async *watch(
    id: string,
    read: () => Promise<LifecycleOperationOccurrence>,
    last: (occurrence: LifecycleOperationOccurrence) => boolean,
    afterRevision: bigint,
    signal?: AbortSignal,
  ): AsyncIterable<LifecycleOperationOccurrence> {
    let dirty = true;
    let wake = () => {};
    const onChange = () => {
      dirty = true;
      wake();
    };
    this.#add(id, onChange);
    signal?.addEventListener('abort', onChange, { once: true });
    try {
      for (let seen = afterRevision; ; ) {
        signal?.throwIfAborted();
        if (!dirty) {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
          continue;
        }
        dirty = false;
        const now = await read();
        if (now.revision > seen) {
          seen = now.revision;
          yield now;
        }
        if (last(now)) return;
      }
    } finally {
      signal?.removeEventListener('abort', onChange);
      this.#remove(id, onChange);
    }
  }

  #add(id: string, wake: () => void): void {
    if (this.#count >= this.#watchersMax) {
      const limit = String(this.#watchersMax);
      const text = `${limit} watchers follow operations already; retry later or poll`;
      throw resourceExhausted('TOO_MANY_WATCHERS', text, { limit });
    }
    this.#count++;
    const set = this.#wake.get(id) ?? new Set();
    set.add(wake);
    this.#wake.set(id, set);
  }

  #remove(id: string, wake: () => void): void {
    this.#count--;
    const set = this.#wake.get(id);
    set?.delete(wake);
    if (set?.size === 0) this.#wake.delete(id);
  }
}

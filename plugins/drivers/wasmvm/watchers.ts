/**
 * Tells every watcher which compute resources changed. What waits is a set of ids, so nobody's
 * queue can grow.
 */
export class Watchers {
  readonly #watchers = new Set<{ changed: Set<string>; wake: () => void }>();

  notify(computeId: string): void {
    for (const watcher of this.#watchers) {
      watcher.changed.add(computeId);
      watcher.wake();
    }
  }

  /** Yields ids that changed, each at least once after its last change, until the signal aborts. */
  async *watch(first: Iterable<string>, signal: AbortSignal): AsyncGenerator<string> {
    const watcher = { changed: new Set(first), wake: () => {} };
    const onAbort = () => watcher.wake();
    signal.addEventListener('abort', onAbort);
    this.#watchers.add(watcher);
    try {
      while (!signal.aborted) {
        for (const computeId of watcher.changed) {
          watcher.changed.delete(computeId);
          yield computeId;
        }
        const { promise, resolve } = Promise.withResolvers<void>();
        watcher.wake = resolve;
        if (watcher.changed.size === 0 && !signal.aborted) await promise;
      }
    } finally {
      this.#watchers.delete(watcher);
      signal.removeEventListener('abort', onAbort);
    }
  }
}

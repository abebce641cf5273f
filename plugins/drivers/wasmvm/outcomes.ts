import { outcomesMax } from './limits.ts';

type CallIdentity = { operationId: string; stepId: string } | undefined;

/**
 * What calls came to, so that a repeat with the same operation and step returns the first outcome
 * instead of doing it again. Only in memory, and forgotten when the guest's memory is lost: what
 * such a call had reached is gone then, and a repeat must do it anew. A call that failed has left
 * nothing behind and may be repeated.
 */
export class Outcomes {
  readonly #entries = new Map<string, { computeId: string; outcome: Promise<unknown> }>();

  run<T>(
    method: string,
    computeId: string,
    call: CallIdentity,
    work: () => Promise<T>,
  ): Promise<T> {
    if (!call) return work();
    const key = JSON.stringify([method, computeId, call.operationId, call.stepId]);
    const known = this.#entries.get(key);
    if (known) return known.outcome as Promise<T>;
    const outcome = work();
    const entry = { computeId, outcome };
    this.#entries.set(key, entry);
    outcome.catch(() => {
      if (this.#entries.get(key) === entry) this.#entries.delete(key);
    });
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= outcomesMax) break;
      this.#entries.delete(oldest);
    }
    return outcome;
  }

  forget(computeId: string): void {
    for (const [key, entry] of this.#entries) {
      if (entry.computeId === computeId) this.#entries.delete(key);
    }
  }
}

import { statusOf } from '../../sdk/error-status.ts';
import { unavailable } from '../../sdk/errors.ts';
import type { CallStatus } from '../../sdk/transport/transport.ts';

/** One call that is being served. */
export type RunningCall = {
  /** Resolves with the status to give when the kernel cannot wait for the call any longer. */
  readonly cut: Promise<CallStatus>;
  readonly signal: AbortSignal;
  done(): void;
};

type Entry = RunningKind & { cut: () => void };

export type RunningKind = {
  /** The call streams responses, so its end may never come by itself. */
  endless: boolean;
  /** It came from outside; a call between plugins is part of another, or of a plugin's own work. */
  outside: boolean;
};

/**
 * The calls that the kernel is serving, so that it can wait for them, or break them off, when it
 * drains.
 */
export class RunningCalls {
  readonly #entries = new Set<Entry>();
  #wake: (() => void)[] = [];

  /** Calls from outside that are being served. */
  get outsideCount(): number {
    return [...this.#entries].filter((entry) => entry.outside).length;
  }

  add(kind: RunningKind): RunningCall {
    const controller = new AbortController();
    let resolveCut!: (status: CallStatus) => void;
    const cut = new Promise<CallStatus>((resolve) => {
      resolveCut = resolve;
    });
    const entry: Entry = {
      ...kind,
      cut: () => {
        const error = draining();
        resolveCut(statusOf(error));
        controller.abort(error);
      },
    };
    this.#entries.add(entry);
    return { cut, signal: controller.signal, done: () => this.#remove(entry) };
  }

  /** Breaks off calls. */
  cut(which: (kind: RunningKind) => boolean): void {
    for (const entry of this.#entries) if (which(entry)) entry.cut();
  }

  /** Resolves when no call from outside runs any more. */
  async idle(): Promise<void> {
    while (this.outsideCount > 0) {
      await new Promise<void>((resolve) => this.#wake.push(resolve));
    }
  }

  #remove(entry: Entry): void {
    this.#entries.delete(entry);
    if (this.outsideCount > 0) return;
    for (const wake of this.#wake.splice(0)) wake();
  }
}

/** The answer to a call that comes, or still runs, while the kernel shuts down. */
export function draining() {
  return unavailable('KERNEL_DRAINING', 'the kernel is shutting down; try again when it is back');
}

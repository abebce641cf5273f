import { Worker } from 'node:worker_threads';
import { RpcError, resourceExhausted, unavailable } from '../../../sdk/errors.ts';
import type { Logger } from '../../../sdk/ports/logger.ts';
import { roomAnswerMsMax, roomCommandsMax, watchMs } from './limits.ts';
import { Heart, heartBytes } from './machine/heartbeat.ts';
import type { CommandName, Commands, FromRoom, RoomOptions, ToRoom } from './machine/protocol.ts';

export type MachineRoomOptions = {
  tickMs: number;
  stallMs: number;
  seed?: bigint;
  logger: Logger;
  /** Messages other than answers. */
  onMessage(message: Exclude<FromRoom, { kind: 'answer' | 'error' }>): void;
  /**
   * The room was emptied: all guests are gone. The number is that of the guest that computed; 0:
   * none did.
   */
  onLost(guestNumber: number, reason: string): void;
};

type Pending = {
  resolve(value: unknown): void;
  reject(error: unknown): void;
  timer: NodeJS.Timeout;
};

const restartMsMin = 100;
const restartMsMax = 10_000;

function restartMs(failedStarts: number): number {
  return Math.min(restartMsMax, restartMsMin * 2 ** (failedStarts - 1));
}

/** How long a new thread may take to its first beat, in milliseconds. */
const bootMsMax = 60_000;

/**
 * The driver's end of the machine room. Watches the heartbeat of its thread: one that stalls, or
 * dies, is replaced by an empty one, and `onLost` says who is to blame.
 */
export class MachineRoom {
  readonly #options: MachineRoomOptions;
  readonly #pending = new Map<number, Pending>();
  readonly #watch: NodeJS.Timeout;
  /** Absent for a moment when the thread before it did not get to its first beat. */
  #worker: Worker | undefined;
  #heart: Heart;
  #ids = 0;
  #lastBeats = 0;
  #staleMs = 0;
  #failedStarts = 0;
  #restart: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: MachineRoomOptions) {
    this.#options = options;
    [this.#worker, this.#heart] = this.#open();
    this.#watch = setInterval(() => this.#look(), watchMs);
    this.#watch.unref();
  }

  /** Carries out a command. Rejects with UNAVAILABLE when the room was lost before it answered. */
  call<K extends CommandName>(
    name: K,
    input: Commands[K]['input'],
    extraMs = 0,
    transfer: ArrayBuffer[] = [],
  ): Promise<Commands[K]['output']> {
    if (this.#closed) return Promise.reject(unavailable('DRIVER_STOPPED', 'the driver stops'));
    if (this.#pending.size >= roomCommandsMax) {
      const text = `over ${roomCommandsMax} commands wait for the machine room; retry later`;
      return Promise.reject(resourceExhausted('TOO_MANY_CALLS', text));
    }
    const worker = this.#worker;
    if (!worker) return Promise.reject(unavailable('ROOM_LOST', 'the machine room starts; retry'));
    const id = ++this.#ids;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(unavailable('ROOM_SILENT', `the machine room did not answer ${name} in time`));
      }, roomAnswerMsMax + extraMs);
      this.#pending.set(id, { resolve: resolve as (value: unknown) => void, reject, timer });
      const message: ToRoom = { id, name, input };
      worker.postMessage(message, transfer);
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#watch);
    clearTimeout(this.#restart);
    this.#failAll(unavailable('DRIVER_STOPPED', 'the driver stops'));
    await this.#worker?.terminate();
  }

  #open(): [Worker, Heart] {
    const heart = new SharedArrayBuffer(heartBytes);
    const { tickMs, seed } = this.#options;
    const workerData: RoomOptions = {
      heart,
      tickMs,
      ...(seed === undefined ? {} : { seed: seed.toString(16) }),
    };
    const worker = new Worker(new URL('./machine/worker.ts', import.meta.url), { workerData });
    worker.on('message', (message: FromRoom) => this.#receive(message));
    worker.on('error', (error: Error) => {
      this.#options.logger.error('the machine room failed', { error });
      this.#lose(worker, `the machine room failed: ${error.message}`);
    });
    worker.on('exit', () => this.#lose(worker, 'the machine room ended'));
    this.#lastBeats = 0;
    this.#staleMs = 0;
    return [worker, new Heart(heart)];
  }

  #receive(message: FromRoom): void {
    if (message.kind !== 'answer' && message.kind !== 'error') {
      this.#options.onMessage(message);
      return;
    }
    const pending = this.#pending.get(message.id);
    if (!pending) return;
    this.#pending.delete(message.id);
    clearTimeout(pending.timer);
    if (message.kind === 'answer') {
      pending.resolve(message.value);
      return;
    }
    const { code, reason, message: text, metadata, stack } = message.error;
    pending.reject(new RpcError(code, reason, text, metadata, { cause: stack }));
  }

  /**
   * Counts looks without a beat rather than time: while this process was suspended nobody looked
   * either.
   */
  #look(): void {
    if (!this.#worker) return;
    const { beats } = this.#heart;
    this.#staleMs = beats === this.#lastBeats ? this.#staleMs + watchMs : 0;
    this.#lastBeats = beats;
    const limit = beats === 0 ? bootMsMax : this.#options.stallMs;
    if (this.#staleMs < limit) return;
    this.#lose(this.#worker, `the machine room stood still for ${this.#staleMs} ms`);
  }

  #lose(worker: Worker, reason: string): void {
    if (this.#closed || worker !== this.#worker) return;
    const { guestNumber, beats } = this.#heart;
    worker.removeAllListeners('message');
    // It may not come to an end by itself: its thread is interrupted, and nobody waits for it.
    worker.terminate().catch((error) => this.#options.logger.error('terminate', { error }));
    this.#worker = undefined;
    this.#failAll(unavailable('ROOM_LOST', `${reason}; its guests were cut off; retry`));
    const reopen = () => {
      [this.#worker, this.#heart] = this.#open();
      this.#options.onLost(guestNumber, reason);
    };
    this.#failedStarts = beats === 0 ? this.#failedStarts + 1 : 0;
    if (this.#failedStarts === 0) reopen();
    // What keeps it from starting will keep the next one too for a while.
    else this.#restart = setTimeout(reopen, restartMs(this.#failedStarts));
  }

  #failAll(error: RpcError): void {
    for (const pending of this.#pending.values()) {
      clearTimeout(pending.timer);
      pending.reject(error);
    }
    this.#pending.clear();
  }
}

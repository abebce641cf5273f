import { ChannelError, JsonLineSocket } from './json-lines.ts';

/** QEMU answered a command with an error. */
export class QmpError extends Error {
  readonly command: string;
  readonly errorClass: string;
  readonly description: string;
  constructor(command: string, errorClass: string, description: string) {
    super(`QMP ${command}: ${errorClass}: ${description}`);
    this.name = 'QmpError';
    this.command = command;
    this.errorClass = errorClass;
    this.description = description;
  }
}

/** An event as QEMU sent it. */
export type QmpEvent = { event: string; data: Record<string, unknown> };

/** Commands answer within milliseconds; this is for a host that swaps. */
export const commandDeadlineMs = 10_000;
/** Events kept for a late waiter; the oldest are dropped first. */
const eventsKeptMax = 256;
/** Commands under way at once; QMP serves them one after the other anyway. */
const pendingMax = 64;
const jobPollMs = 10;

type Pending = {
  command: string;
  resolve: (value: unknown) => void;
  reject: (error: Error) => void;
};
type Waiter = { accepts: (event: QmpEvent) => boolean; resolve: (event: QmpEvent) => void } & {
  reject: (error: Error) => void;
};

/** A client of QEMU's machine protocol over a Unix socket. QEMU serves one client per socket. */
export class QmpClient {
  /** Told of every event as it comes, besides those who wait for it. */
  onEvent: (event: QmpEvent) => void = () => {};
  readonly #socket: JsonLineSocket;
  readonly #pending = new Map<number, Pending>();
  readonly #waiters = new Set<Waiter>();
  readonly #events: QmpEvent[] = [];
  readonly #closeListeners = new Set<() => void>();
  #nextId = 1;
  #closed: ChannelError | undefined;

  private constructor(socket: JsonLineSocket) {
    this.#socket = socket;
    socket.onMessage = (message) => this.#receive(message as Record<string, unknown>);
    socket.onEnd = (error) => this.#end(error);
  }

  /**
   * Connects and negotiates. ChannelError CONNECT or DEADLINE when nobody answers within
   * `deadlineMs`.
   */
  static async connect(path: string, deadlineMs = commandDeadlineMs): Promise<QmpClient> {
    const end = performance.now() + deadlineMs;
    const client = new QmpClient(await JsonLineSocket.connect(path, deadlineMs));
    try {
      await client.execute('qmp_capabilities', undefined, Math.max(1, end - performance.now()));
    } catch (error) {
      client.close();
      throw error;
    }
    return client;
  }

  get closed(): boolean {
    return this.#closed !== undefined;
  }

  /**
   * Runs one command. QmpError when QEMU refuses it; ChannelError when it does not answer in time.
   */
  execute<T = unknown>(command: string, args?: object, deadlineMs = commandDeadlineMs): Promise<T> {
    if (this.#closed) return Promise.reject(this.#lost(command));
    if (this.#pending.size >= pendingMax) {
      const text = `QMP ${command}: more than ${pendingMax} commands wait on ${this.#socket.name}`;
      return Promise.reject(new ChannelError('OVERFLOW', text));
    }
    const id = this.#nextId++;
    return new Promise<T>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        const text = `QMP ${command}: no answer from ${this.#socket.name} within ${deadlineMs} ms`;
        reject(new ChannelError('DEADLINE', text));
      }, deadlineMs);
      this.#pending.set(id, {
        command,
        resolve: (value) => {
          clearTimeout(timer);
          resolve(value as T);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      });
      this.#socket.send(
        args ? { execute: command, arguments: args, id } : { execute: command, id },
      );
    });
  }

  /** Waits for an event, also one that came before and was not taken yet. */
  waitEvent(
    name: string,
    deadlineMs: number,
    matches: (data: Record<string, unknown>) => boolean = () => true,
  ): Promise<QmpEvent> {
    const accepts = (event: QmpEvent) => event.event === name && matches(event.data);
    const index = this.#events.findIndex(accepts);
    if (index >= 0) return Promise.resolve(this.#events.splice(index, 1)[0]!);
    if (this.#closed) return Promise.reject(this.#lost(`event ${name}`));
    return new Promise((resolve, reject) => {
      const finish = (act: () => void) => {
        clearTimeout(timer);
        this.#waiters.delete(waiter);
        act();
      };
      const waiter: Waiter = {
        accepts,
        resolve: (event) => finish(() => resolve(event)),
        reject: (error) => finish(() => reject(error)),
      };
      const timer = setTimeout(() => {
        const text = `QMP event ${name}: none from ${this.#socket.name} within ${deadlineMs} ms`;
        waiter.reject(new ChannelError('DEADLINE', text));
      }, deadlineMs);
      this.#waiters.add(waiter);
    });
  }

  /** Waits until a job ended and dismisses it. QmpError with the job's own error when it failed. */
  async finishJob(id: string, deadlineMs: number): Promise<void> {
    const end = performance.now() + deadlineMs;
    for (;;) {
      const jobs =
        await this.execute<{ id: string; status: string; error?: string }[]>('query-jobs');
      const job = jobs.find((candidate) => candidate.id === id);
      if (!job)
        throw new QmpError(`job ${id}`, 'GenericError', 'it vanished before its result was read');
      if (job.status === 'ready') await this.execute('job-complete', { id });
      if (job.status === 'concluded') {
        await this.execute('job-dismiss', { id });
        if (job.error) throw new QmpError(`job ${id}`, 'GenericError', job.error);
        return;
      }
      if (performance.now() > end) {
        const text = `QMP job ${id}: still ${job.status} after ${deadlineMs} ms`;
        throw new ChannelError('DEADLINE', text);
      }
      await new Promise((resolve) => setTimeout(resolve, jobPollMs));
    }
  }

  /** Calls back once when the connection is lost or closed; at once when it already is. */
  onClose(listener: () => void): void {
    if (this.#closed) listener();
    else this.#closeListeners.add(listener);
  }

  close(): void {
    this.#socket.close();
  }

  #lost(what: string): ChannelError {
    return new ChannelError('CLOSED', `QMP ${what}: ${this.#closed?.message ?? 'closed'}`);
  }

  #end(error: ChannelError): void {
    this.#closed = error;
    for (const pending of this.#pending.values()) pending.reject(this.#lost(pending.command));
    this.#pending.clear();
    for (const waiter of [...this.#waiters]) waiter.reject(this.#lost('event'));
    for (const listener of this.#closeListeners) listener();
    this.#closeListeners.clear();
  }

  #receive(message: Record<string, unknown>): void {
    if (typeof message.event === 'string') {
      const data = (message.data ?? {}) as Record<string, unknown>;
      this.#receiveEvent({ event: message.event, data });
      return;
    }
    const pending = this.#pending.get(message.id as number);
    if (!pending) return; // the greeting, or an answer whose caller gave up
    this.#pending.delete(message.id as number);
    const error = message.error as { class: string; desc: string } | undefined;
    if (error) pending.reject(new QmpError(pending.command, error.class, error.desc));
    else pending.resolve(message.return);
  }

  #receiveEvent(event: QmpEvent): void {
    this.onEvent(event);
    for (const waiter of this.#waiters) {
      if (!waiter.accepts(event)) continue;
      waiter.resolve(event);
      return;
    }
    this.#events.push(event);
    if (this.#events.length > eventsKeptMax) this.#events.shift();
  }
}

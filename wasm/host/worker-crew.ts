import { Worker } from 'node:worker_threads';
import { CoreError, type CoreErrorMessage, fromErrorMessage } from './errors.ts';
import { type Job, runJob } from './job.ts';
import type { Core } from './load.ts';

/** What a worker is started with. `index` selects its work area in the shared memory. */
export type WorkerStart = { module: WebAssembly.Module; memory: WebAssembly.Memory; index: number };
/** A worker's answer about the job in a slot. */
export type WorkerReply =
  | { slot: number; used: number }
  | { slot: number; error: CoreErrorMessage };
export type StartWorker = (start: WorkerStart) => Worker;

/** Does jobs, each in a slot of its own. */
export interface Executor {
  /** Resolves to the bytes used in the slot's output. Rejects with CoreError. */
  run(job: Job): Promise<number>;
  /** Waits for the jobs that run; rejects those that wait. */
  close(): Promise<void>;
}

/** Does jobs at once in the calling thread. */
export class LocalExecutor implements Executor {
  private readonly core: Core;

  constructor(core: Core) {
    this.core = core;
  }

  async run(job: Job): Promise<number> {
    return runJob(this.core, job);
  }

  async close(): Promise<void> {}
}

// Jobs that a worker has at a time: one that runs and one that is there when it ends.
const jobsPerWorkerMax = 2;
// Workers started in place of dead ones over the life of a crew. More deaths have a lasting cause.
const replacementsMax = 8;

type Pending = { job: Job; resolve(used: number): void; reject(error: CoreError): void };
type Member = { worker: Worker; index: number; running: Pending[] };

/** Starts a worker thread of this package. */
export function startWorker(start: WorkerStart): Worker {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  return new Worker(new URL(`./worker.${extension}`, import.meta.url), { workerData: start });
}

/** Spreads jobs over worker threads. A worker that dies rejects its jobs and is replaced. */
export class WorkerCrew implements Executor {
  private readonly module: WebAssembly.Module;
  private readonly memory: WebAssembly.Memory;
  private readonly start: StartWorker;
  private readonly members: Member[] = [];
  private readonly waiting: Pending[] = [];
  private replacements = 0;
  private lastDeath: CoreError | undefined;
  private closing: (() => void) | undefined;
  private isClosed = false;

  constructor(module: WebAssembly.Module, memory: WebAssembly.Memory, start: StartWorker) {
    this.module = module;
    this.memory = memory;
    this.start = start;
  }

  /** Adds a worker that uses work area `index`. */
  hire(index: number): void {
    const worker = this.start({ module: this.module, memory: this.memory, index });
    const member: Member = { worker, index, running: [] };
    let cause = 'it ended without a message';
    worker.on('message', (reply: WorkerReply) => this.settle(member, reply));
    worker.on('error', (error) => {
      cause = `${error instanceof Error ? error.message : error}`;
    });
    worker.on('exit', () => this.bury(member, cause));
    worker.unref();
    this.members.push(member);
  }

  run(job: Job): Promise<number> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ job, resolve, reject });
      this.dispatch();
    });
  }

  async close(): Promise<void> {
    this.isClosed = true;
    const closed = new CoreError('POOL_CLOSED', 'the pool was closed before this run began');
    for (const pending of this.waiting.splice(0)) pending.reject(closed);
    if (this.members.some((member) => member.running.length > 0)) {
      await new Promise<void>((resolve) => {
        this.closing = resolve;
      });
    }
    await Promise.all(this.members.splice(0).map((member) => member.worker.terminate()));
  }

  private dispatch(): void {
    while (this.waiting.length > 0) {
      if (this.members.length === 0) {
        const death = this.lastDeath ?? new CoreError('POOL_CLOSED', 'the pool has no workers');
        for (const pending of this.waiting.splice(0)) pending.reject(death);
        return;
      }
      const idlest = this.members.reduce((a, b) => (b.running.length < a.running.length ? b : a));
      if (idlest.running.length >= jobsPerWorkerMax) return;
      const pending = this.waiting.shift()!;
      // A worker keeps the process alive only while it has work: a pool that nobody closed does not
      // hang it.
      if (idlest.running.length === 0) idlest.worker.ref();
      idlest.running.push(pending);
      idlest.worker.postMessage(pending.job);
    }
  }

  private settle(member: Member, reply: WorkerReply): void {
    const at = member.running.findIndex(({ job }) => job.slot.index === reply.slot);
    // A dead worker's last answer may come after its runs were rejected.
    if (at < 0) return;
    const { resolve, reject } = member.running[at]!;
    member.running.splice(at, 1);
    if (member.running.length === 0) member.worker.unref();
    if ('error' in reply) reject(fromErrorMessage(reply.error));
    else resolve(reply.used);
    this.afterJob();
  }

  private bury(member: Member, cause: string): void {
    const at = this.members.indexOf(member);
    if (at < 0) return;
    this.members.splice(at, 1);
    const message = `worker ${member.index} of the pool died: ${cause}`;
    this.lastDeath = new CoreError('WORKER_DIED', message, { worker: member.index, cause });
    for (const pending of member.running.splice(0)) pending.reject(this.lastDeath);
    if (!this.isClosed && this.replacements < replacementsMax) {
      this.replacements += 1;
      this.hire(member.index);
    }
    this.afterJob();
  }

  private afterJob(): void {
    this.dispatch();
    if (this.members.every((member) => member.running.length === 0)) this.closing?.();
  }
}

import { readFileSync } from 'node:fs';
import { failedPrecondition } from '../../../../sdk/errors.ts';
import { beatMsMax, restoredFreezeMs, seededRoundsMax, seededRoundsMin } from '../limits.ts';
import { capture } from './capture.ts';
import { decodeDeviceState } from './device-state.ts';
import type { Heart } from './heartbeat.ts';
import { GuestEnded, Machine } from './machine.ts';
import { Switch } from './network.ts';
import type {
  AfterRestore,
  Captured,
  CommandName,
  Commands,
  FromRoom,
  MachineConfig,
} from './protocol.ts';
import { Resident } from './resident.ts';
import type { Schedule } from './schedule.ts';

type Handlers = {
  [K in CommandName]: (
    input: Commands[K]['input'],
  ) => Commands[K]['output'] | Promise<Commands[K]['output']>;
};

type Job = {
  steps: Generator<void, Captured>;
  resolve(value: Captured): void;
  reject(error: unknown): void;
};

export type RoomParts = {
  heart: Heart;
  schedule: Schedule;
  tickMs: number;
  notify(message: FromRoom): void;
};

/**
 * All guests of a driver, in one thread. `turn` is one beat: deadlines first, then slices of
 * captures, then ticks. Commands come between turns, so every guest stands at a tick boundary
 * whenever one is carried out.
 */
export class Room {
  readonly #parts: RoomParts;
  readonly #residents = new Map<string, Resident>();
  /** Guests that were loaded and wait for their commit. */
  readonly #shadows = new Map<string, Resident>();
  readonly #modules = new Map<string, WebAssembly.Module>();
  readonly #switch = new Switch();
  #jobs: Job[] = [];
  #nextTickMs = 0;

  readonly handlers: Handlers = {
    start: ({ config }) => this.#start(config),
    stop: ({ computeId }) => {
      const resident = this.#residents.get(computeId);
      if (resident) this.#remove(resident);
      return undefined;
    },
    shutdown: (input) => this.#shutdown(input),
    pause: ({ computeId }) => this.#setState(computeId, 'paused'),
    unpause: ({ computeId }) => this.#setState(computeId, 'running'),
    setCables: ({ computeId, plugged }) => this.#setCables(computeId, plugged),
    status: ({ computeId }) => this.#residents.get(computeId)?.status,
    hold: ({ computeId, leaseId, durationMs }) =>
      this.#require(computeId).hold(leaseId, durationMs, performance.now()),
    release: ({ computeId, leaseId }) => {
      const resident = this.#require(computeId);
      resident.release(leaseId);
      if (resident.status.hold === undefined) this.#linkUp(resident);
      return { releaseMs: Date.now() };
    },
    quiesce: ({ computeId, leaseId, durationMs }) =>
      this.#guard(computeId, (resident) =>
        resident.quiesce(leaseId, durationMs, performance.now()),
      ),
    unquiesce: ({ computeId, leaseId }) =>
      this.#guard(computeId, (resident) => ({ thawed: resident.unquiesce(leaseId) })),
    capture: (input) => this.#capture(input),
    prepareRestore: (input) => this.#prepareRestore(input),
    commitRestore: ({ computeId, after }) => this.#commitRestore(computeId, after),
    abortRestore: ({ computeId }) => this.#abortRestore(computeId),
    channel: ({ computeId, line }) => ({
      taken: this.#residents.get(computeId)?.machine.offerLine(line) ?? false,
    }),
  };

  constructor(parts: RoomParts) {
    this.#parts = parts;
  }

  /** One beat. Returns how many milliseconds may pass before the next. */
  turn(): number {
    this.#parts.heart.beat();
    for (const resident of [...this.#residents.values()]) this.#expire(resident);
    this.#advanceJobs();
    const now = performance.now();
    const ready = this.#ready();
    if (ready.length > 0 && now >= this.#nextTickMs) {
      this.#round(ready);
      // A thread that fell behind does not catch up: the guests' time stands still instead.
      this.#nextTickMs = Math.max(this.#nextTickMs + this.#parts.tickMs, now);
    }
    return this.#pauseMs(ready.length > 0);
  }

  #pauseMs(ticking: boolean): number {
    if (this.#jobs.length > 0) return 0;
    const now = performance.now();
    let next = now + beatMsMax;
    for (const resident of this.#residents.values()) next = Math.min(next, resident.deadlineMs);
    if (ticking) next = Math.min(next, this.#nextTickMs);
    return Math.max(0, next - now);
  }

  #ready(): string[] {
    const ready = [...this.#residents].filter(([, resident]) => resident.ready);
    return ready.map(([computeId]) => computeId).sort();
  }

  #round(ready: readonly string[]): void {
    for (const computeId of this.#parts.schedule.round(ready)) {
      const resident = this.#residents.get(computeId);
      if (resident?.ready) this.#run(resident, () => this.#tick(resident));
    }
  }

  #tick(resident: Resident): void {
    if (resident.shutdown && !resident.shutdown.asked) {
      resident.shutdown.asked = true;
      resident.machine.askToShutDown();
    } else resident.machine.tick();
  }

  /** Lets a guest compute; one that ends or fails is taken out. */
  #run<T>(resident: Resident, work: () => T): T | GuestEnded {
    this.#parts.heart.enter(resident.number);
    try {
      return work();
    } catch (error) {
      if (!(error instanceof GuestEnded)) throw error;
      this.#remove(resident);
      const { computeId } = resident.machine.config;
      // Who waits for a shutdown is told by its answer.
      if (!resident.shutdown || error.how === 'failed') {
        this.#parts.notify({ kind: 'ended', computeId, how: error.how, reason: error.message });
      }
      return error;
    } finally {
      this.#parts.heart.enter(0);
    }
  }

  #guard<T>(computeId: string, work: (resident: Resident) => T): T {
    const resident = this.#require(computeId);
    const result = this.#run(resident, () => work(resident));
    if (result instanceof GuestEnded) throw absent(computeId);
    return result;
  }

  #expire(resident: Resident): void {
    const now = performance.now();
    const { shutdown } = resident;
    if (shutdown && now >= shutdown.deadlineMs) {
      this.#remove(resident);
      return;
    }
    if (now < resident.deadlineMs) return;
    const changed = this.#run(resident, () => resident.expire(now));
    if (changed === true) {
      if (resident.status.hold === undefined) this.#linkUp(resident);
      this.#parts.notify({ kind: 'changed', computeId: resident.machine.config.computeId });
    }
  }

  #advanceJobs(): void {
    this.#jobs = this.#jobs.filter((job) => {
      try {
        const step = job.steps.next();
        if (step.done) job.resolve(step.value);
        return !step.done;
      } catch (error) {
        job.reject(error);
        return false;
      }
    });
  }

  #start(config: MachineConfig) {
    if (this.#residents.has(config.computeId)) {
      throw failedPrecondition('COMPUTE_STATE', `${config.computeId} is in memory already`);
    }
    const resident = this.#load(config);
    this.#admit(resident);
    return resident.status;
  }

  #load(config: MachineConfig): Resident {
    const { computeId } = config;
    let module = this.#modules.get(config.programId);
    if (!module) {
      module = new WebAssembly.Module(readFileSync(config.programPath));
      this.#modules.set(config.programId, module);
    }
    const machine = new Machine(config, module, {
      tickMs: this.#parts.tickMs,
      send: (from, frame) => this.#switch.send(from, frame),
      channelWrite: (line) => this.#parts.notify({ kind: 'channel', computeId, line }),
    });
    return new Resident(machine);
  }

  #admit(resident: Resident): void {
    this.#residents.set(resident.machine.config.computeId, resident);
    for (const port of resident.machine.interfaces) this.#switch.plug(port);
  }

  #remove(resident: Resident): void {
    this.#residents.delete(resident.machine.config.computeId);
    for (const port of resident.machine.interfaces) this.#switch.unplug(port);
    resident.machine.close();
    resident.shutdown?.done();
  }

  #shutdown({ computeId, timeoutMs }: Commands['shutdown']['input']): Promise<undefined> {
    const resident = this.#residents.get(computeId);
    if (!resident) return Promise.resolve(undefined);
    if (!resident.machine.config.canShutDown || !resident.ready) {
      this.#remove(resident);
      return Promise.resolve(undefined);
    }
    return new Promise((resolve) => {
      const deadlineMs = performance.now() + timeoutMs;
      resident.shutdown = { deadlineMs, asked: false, done: () => resolve(undefined) };
    });
  }

  #setState(computeId: string, state: 'running' | 'paused') {
    const resident = this.#require(computeId);
    if (resident.status.hold) {
      throw failedPrecondition('COMPUTE_STATE', `${computeId} is held; release it first`, {
        compute_id: computeId,
      });
    }
    resident.state = state;
    return resident.status;
  }

  #setCables(computeId: string, plugged: boolean): undefined {
    const resident = this.#require(computeId);
    resident.unplugged = !plugged;
    if (plugged && resident.status.hold) return;
    for (const port of resident.machine.interfaces) port.linkUp = plugged;
  }

  #capture(input: Commands['capture']['input']): Promise<Captured> {
    const { schedule } = this.#parts;
    for (
      let left = schedule.roundsBeforeCapture(seededRoundsMin, seededRoundsMax);
      left > 0;
      left--
    ) {
      this.#round(this.#ready());
    }
    const resident = this.#require(input.computeId);
    return new Promise<Captured>((resolve, reject) => {
      const steps = capture(resident, input);
      // The first step now: memory and logs are those of this moment.
      this.#jobs.push({ steps, resolve, reject });
      this.#advanceJobs();
    }).then((captured) => {
      // The driver stops it for good when the snapshot is durable, and lets it run on when it
      // cannot be.
      if (input.stopAfter) resident.state = 'paused';
      return captured;
    });
  }

  #prepareRestore(input: Commands['prepareRestore']['input']): undefined {
    const { config, memory, deviceState } = input;
    if (this.#shadows.has(config.computeId)) throw new Error('a restore is being prepared already');
    const shadow = this.#load(config);
    try {
      if (memory && deviceState) shadow.machine.load(memory, decodeDeviceState(deviceState));
    } catch (error) {
      shadow.machine.close();
      throw error;
    }
    shadow.quiesced = input.quiesced;
    // Frames of the time that is being left must not reach a guest that has not lived it.
    for (const port of shadow.machine.interfaces) port.linkUp = false;
    this.#shadows.set(config.computeId, shadow);
    const old = this.#residents.get(config.computeId);
    if (old) old.standing++;
    return undefined;
  }

  #commitRestore(computeId: string, after: AfterRestore) {
    const shadow = this.#shadows.get(computeId);
    if (!shadow) throw new Error('no restore is prepared');
    this.#shadows.delete(computeId);
    const old = this.#residents.get(computeId);
    if (old) this.#remove(old);
    const now = performance.now();
    if (after.kind === 'hold') shadow.hold(after.leaseId, after.durationMs, now);
    else this.#linkUp(shadow);
    if (after.kind === 'pause') shadow.state = 'paused';
    if (shadow.quiesced) shadow.limitFreeze(`restored-${shadow.number}`, restoredFreezeMs, now);
    this.#admit(shadow);
    return { status: shadow.status };
  }

  #abortRestore(computeId: string): undefined {
    const shadow = this.#shadows.get(computeId);
    if (!shadow) return undefined;
    this.#shadows.delete(computeId);
    shadow.machine.close();
    const old = this.#residents.get(computeId);
    if (old) old.standing--;
    return undefined;
  }

  #linkUp(resident: Resident): void {
    if (resident.unplugged) return;
    for (const port of resident.machine.interfaces) port.linkUp = true;
  }

  #require(computeId: string): Resident {
    const resident = this.#residents.get(computeId);
    if (!resident) throw absent(computeId);
    return resident;
  }
}

/** The guest ended between the driver's look and the command. */
function absent(computeId: string) {
  const text = `${computeId} is not in memory`;
  return failedPrecondition('COMPUTE_STATE', text, { compute_id: computeId });
}

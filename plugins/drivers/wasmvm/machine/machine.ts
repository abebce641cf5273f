import { appendFileSync, statSync, truncateSync } from 'node:fs';
import { failedPrecondition } from '../../../../sdk/errors.ts';
import { consoleBytesMax, linesQueuedMax, pageBytes } from '../limits.ts';
import { type DeviceState, encodeDeviceState } from './device-state.ts';
import { Disk } from './disk.ts';
import { GuestFault, hostFunctions, lineBudget } from './host-functions.ts';
import { NetworkInterface } from './network.ts';
import type { MachineConfig } from './protocol.ts';
import { SplitMix64 } from './random.ts';

type GuestExports = {
  memory: WebAssembly.Memory;
  boot(): void;
  tick(): void;
  freeze?(): number;
  thaw?(): number;
  shutdown?(): void;
} & Record<string, unknown>;

/** What a machine does to the world around it. */
export type Surroundings = {
  tickMs: number;
  send(from: NetworkInterface, frame: Uint8Array): void;
  channelWrite(line: string): void;
};

/** The guest's program ended by itself or did something that it may not do. */
export class GuestEnded extends Error {
  readonly how: 'off' | 'failed';
  constructor(how: 'off' | 'failed', reason: string) {
    super(reason);
    this.how = how;
  }
}

/**
 * One guest: an instance of its program with its devices. Between two calls nothing of it runs, and
 * its whole state is its memory, its exported globals, its devices and its disks.
 */
export class Machine {
  readonly config: MachineConfig;
  readonly disks: Disk[] = [];
  readonly interfaces: NetworkInterface[];
  readonly linesIn: string[] = [];
  readonly #surroundings: Surroundings;
  readonly #exports: GuestExports;
  readonly #random: SplitMix64;
  #ticks = 0;
  #booted = false;
  #inside = false;
  #off = false;
  #countLine = lineBudget();

  /** Opens the disks and instantiates the program; its memory is as at power-on. */
  constructor(config: MachineConfig, module: WebAssembly.Module, surroundings: Surroundings) {
    this.config = config;
    this.#surroundings = surroundings;
    this.interfaces = config.interfaces.map(
      ({ networkId, mac }) => new NetworkInterface(networkId, mac),
    );
    this.#random = new SplitMix64(BigInt(`0x${config.seed}`));
    try {
      for (const disk of config.disks) this.disks.push(new Disk(disk));
      const instance = new WebAssembly.Instance(module, {
        vm: hostFunctions(this.#hardware()) as WebAssembly.Imports[string],
      });
      this.#exports = instance.exports as GuestExports;
      const missing = config.pages - this.#bytes().length / pageBytes;
      if (missing > 0) this.#exports.memory.grow(missing);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  get canFreeze(): boolean {
    return this.config.canFreeze;
  }

  /** One step of the guest; the first one boots it. Throws GuestEnded. */
  tick(): void {
    this.#countLine = lineBudget();
    if (this.#booted) this.#call('tick');
    else {
      this.#booted = true;
      this.#call('boot');
    }
    this.#ticks++;
  }

  /** How many file systems were frozen or thawed by this call. Throws GuestEnded. */
  freeze(): number {
    return Math.max(0, Number(this.#call('freeze')));
  }

  thaw(): number {
    return Math.max(0, Number(this.#call('thaw')));
  }

  /** Tells the guest to shut down. Throws GuestEnded, also when it did so at once. */
  askToShutDown(): void {
    this.#call('shutdown');
  }

  /** Queues a line for the guest; false when its queue is full. */
  offerLine(line: string): boolean {
    if (this.linesIn.length >= linesQueuedMax) return false;
    this.linesIn.push(line);
    return true;
  }

  /** A copy of the memory. */
  memoryImage(): Uint8Array {
    return this.#bytes().slice();
  }

  deviceState(): Uint8Array {
    const globals = this.config.globals.map((name) => [name, this.#global(name).value]);
    return encodeDeviceState({
      programId: this.config.programId,
      ticks: this.#ticks,
      random: this.#random.state,
      frames: this.interfaces.map(({ queue }) => queue),
      lines: this.linesIn,
      globals: Object.fromEntries(globals),
    });
  }

  /**
   * Puts a captured state in the place of the power-on state. FAILED_PRECONDITION with reason
   * INCOMPATIBLE when it is not one of this program and these devices.
   */
  load(memory: Uint8Array, state: DeviceState): void {
    const names = Object.keys(state.globals).sort();
    if (
      state.programId !== this.config.programId ||
      state.frames.length !== this.interfaces.length ||
      names.join() !== [...this.config.globals].sort().join()
    ) {
      throw incompatible('the program or the interfaces differ from those of the snapshot');
    }
    const missing = memory.length - this.#bytes().length;
    if (
      missing < 0 ||
      missing % pageBytes !== 0 ||
      memory.length > this.config.pagesMax * pageBytes
    ) {
      throw incompatible(`memory of ${memory.length} bytes does not fit this guest`);
    }
    if (missing > 0) this.#exports.memory.grow(missing / pageBytes);
    this.#bytes().set(memory);
    for (const name of names) this.#setGlobal(name, state.globals[name]);
    this.#ticks = state.ticks;
    this.#booted = state.ticks > 0;
    this.#random.state = state.random;
    this.linesIn.push(...state.lines);
    for (const [index, port] of this.interfaces.entries()) {
      port.queue.push(...(state.frames[index] ?? []));
    }
  }

  close(): void {
    for (const disk of this.disks) disk.close();
    this.disks.length = 0;
  }

  #call(name: 'boot' | 'tick' | 'freeze' | 'thaw' | 'shutdown'): unknown {
    let result: unknown;
    this.#inside = true;
    try {
      result = this.#exports[name]?.();
    } catch (error) {
      throw new GuestEnded('failed', `${name}: ${(error as Error).message}`);
    } finally {
      this.#inside = false;
    }
    if (this.#off) throw new GuestEnded('off', 'the guest switched itself off');
    if (this.#bytes().length > this.config.pagesMax * pageBytes) {
      const limit = (this.config.pagesMax * pageBytes) / 1024 / 1024;
      throw new GuestEnded(
        'failed',
        `${name}: the guest took more than its ${limit} MiB of memory`,
      );
    }
    return result;
  }

  #hardware() {
    return {
      disks: this.disks,
      interfaces: this.interfaces,
      random: this.#random,
      linesIn: this.linesIn,
      parameters: this.config.parameters,
      generationId: this.config.generationId,
      clockMs: () => this.#ticks * this.#surroundings.tickMs,
      memory: () => {
        if (!this.#inside) throw new GuestFault('a guest may not act before it boots');
        return this.#bytes();
      },
      send: this.#surroundings.send,
      log: (text: string) => this.#log(text),
      channelWrite: (line: string) => {
        this.#countLine();
        this.#surroundings.channelWrite(line);
      },
      powerOff: () => {
        this.#off = true;
      },
    };
  }

  #bytes(): Uint8Array {
    return new Uint8Array(this.#exports.memory.buffer);
  }

  #global(name: string): WebAssembly.Global {
    return this.#exports[name] as WebAssembly.Global;
  }

  #setGlobal(name: string, value: unknown): void {
    try {
      this.#global(name).value = value;
    } catch {
      throw incompatible(`the global ${name} has another type`);
    }
  }

  /** The console is for people: a host that cannot write it must not end the guest. */
  #log(text: string): void {
    const path = this.config.consolePath;
    try {
      if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) > consoleBytesMax) {
        truncateSync(path, 0);
      }
      appendFileSync(path, `${text.replaceAll('\n', ' ')}\n`, { mode: 0o600 });
    } catch (error) {
      process.emitWarning(`${path}: ${(error as Error).message}`);
    }
  }
}

function incompatible(text: string) {
  return failedPrecondition('INCOMPATIBLE', text);
}

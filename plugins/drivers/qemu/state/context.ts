import { EventEmitter } from 'node:events';
import { readFile } from 'node:fs/promises';
import { unavailable } from '../../../../sdk/errors.ts';
import { KeyedLock } from '../../../../sdk/keyed-lock.ts';
import type { Logger } from '../../../../sdk/ports/logger.ts';
import { ImageFolders } from '../disks/image-folders.ts';
import { LayerStore } from '../disks/layer-store.ts';
import { unknownCompute } from '../errors.ts';
import { waitForExit } from '../host/process.ts';
import { Leases } from '../leases/leases.ts';
import type { Hypervisor, MachineWishes, Probe } from '../machine/hypervisor.ts';
import { discardRun, type Machine } from '../machine/machine.ts';
import { Folders } from './folders.ts';
import type { ComputeRecord } from './records.ts';
import { Store } from './store.ts';

const exitDeadlineMs = 5000;
const logTailCharacters = 400;
const stateEvents = new Set(['STOP', 'RESUME', 'SHUTDOWN', 'RESET', 'BLOCK_IO_ERROR']);
/**
 * Calls remembered for each compute resource, so that a repeat after a crash finds its first
 * outcome.
 */
const callsKeptMax = 64;

/** The operator's settings of this driver. */
export type DriverConfig = MachineWishes & {
  imageFolders: string[];
  program: string;
  /** Where callers may have snapshots kept. */
  snapshotFolders: string[];
};

/** What all services of the driver share: durable state, and the machines that are attached now. */
export class DriverContext {
  readonly instanceId: string;
  readonly config: DriverConfig;
  readonly logger: Logger;
  readonly folders: Folders;
  readonly store: Store;
  readonly layers: LayerStore;
  readonly images: ImageFolders;
  readonly leases: Leases;
  readonly locks = new KeyedLock();
  /** Emits 'change' with a compute id, and 'deleted'. */
  readonly changes = new EventEmitter();
  readonly probe: Probe;
  /** Work that no caller waits for. */
  readonly background = new Set<Promise<void>>();
  /** Set when the driver ends: work in the background stops at its next step. */
  closing = false;
  /** What a start or an end that is under way looks like from outside. */
  readonly transitions = new Map<string, 'STOPPED' | 'RUNNING'>();
  readonly #machines = new Map<string, Machine>();

  constructor(options: {
    instanceId: string;
    dataFolder: string;
    config: DriverConfig;
    logger: Logger;
    probe: Probe;
  }) {
    this.instanceId = options.instanceId;
    this.config = options.config;
    this.logger = options.logger;
    this.probe = options.probe;
    this.folders = new Folders(options.dataFolder);
    this.store = new Store(this.folders.database);
    this.layers = new LayerStore(this.store, this.folders);
    this.images = new ImageFolders(options.config.imageFolders, this.folders.images);
    this.leases = new Leases(this.folders.leases);
    this.changes.setMaxListeners(0);
  }

  /** UNAVAILABLE reason HYPERVISOR_MISSING when QEMU cannot be used here. */
  get hypervisor(): Hypervisor {
    if ('hypervisor' in this.probe) return this.probe.hypervisor;
    throw unavailable('HYPERVISOR_MISSING', `QEMU cannot be used: ${this.probe.problem}`);
  }

  compute(computeId: string): ComputeRecord {
    const compute = this.store.get('compute', computeId);
    if (!compute) throw unknownCompute(computeId);
    return compute;
  }

  /** Changes a record; `change` sees the stored one, so that no older copy is ever written back. */
  update(computeId: string, change: Partial<ComputeRecord>): ComputeRecord {
    const compute = { ...this.compute(computeId), ...change };
    this.store.put('compute', computeId, compute);
    return compute;
  }

  /** The attached machine of a compute resource, if QEMU runs. */
  machine(computeId: string): Machine | undefined {
    return this.#machines.get(computeId);
  }

  /** Takes a machine as the present one of a compute resource and watches for its end. */
  attach(computeId: string, machine: Machine): void {
    this.#machines.set(computeId, machine);
    machine.qmp.onClose(() => void this.#lost(computeId, machine));
    // Also the watchdog and the guest itself change the state.
    machine.qmp.onEvent = ({ event }) => {
      if (stateEvents.has(event)) this.changed(computeId);
    };
    this.changed(computeId);
  }

  /** Forgets the machine: its end is intended, or another one takes its place. */
  detach(computeId: string): Machine | undefined {
    const machine = this.#machines.get(computeId);
    this.#machines.delete(computeId);
    return machine;
  }

  attached(): ReadonlyMap<string, Machine> {
    return this.#machines;
  }

  /** Lets go of everything; the machines live on. */
  async close(): Promise<void> {
    this.closing = true;
    await Promise.allSettled([...this.background]);
    const machines = [...this.#machines.values()];
    this.#machines.clear();
    for (const machine of machines) machine.qmp.close();
    this.store.close();
  }

  changed(computeId: string): void {
    this.changes.emit('change', computeId);
  }

  /** The first outcome of a call that is repeated. */
  earlierCall(compute: ComputeRecord, method: string, call: CallName) {
    const key = callKey(method, call);
    return key === undefined ? undefined : compute.calls.find((entry) => entry.key === key);
  }

  /** Remembers a call; to be written together with its effect. */
  withCall(compute: ComputeRecord, method: string, call: CallName, leaseId?: string) {
    const key = callKey(method, call);
    if (key === undefined) return compute.calls;
    const entry = leaseId === undefined ? { key } : { key, leaseId };
    return [...compute.calls.filter((other) => other.key !== key), entry].slice(-callsKeptMax);
  }

  /** QEMU went away without being told to. */
  async #lost(computeId: string, machine: Machine): Promise<void> {
    if (this.#machines.get(computeId) !== machine) return;
    try {
      // QEMU closes its sockets before it ends: the end of a connection is not yet the end of the
      // process.
      if (!(await waitForExit(machine.process, exitDeadlineMs))) {
        this.logger.warn('QEMU closed its socket and lives on', { computeId });
        return;
      }
      if (this.#machines.get(computeId) !== machine) return;
      this.#machines.delete(computeId);
      await this.noteFailure(computeId, machine.folder);
    } catch (error) {
      this.logger.error('the end of a machine could not be recorded', { computeId, error });
    }
  }

  /** Records that the process of a compute resource is gone although nobody ended it. */
  async noteFailure(computeId: string, runFolder: string): Promise<void> {
    const log = await readFile(`${runFolder}/qemu.log`, 'utf8').catch(() => '');
    const tail = log.trim().slice(-logTailCharacters);
    const failure = `QEMU ended by itself${tail ? `: ${tail}` : ''}`;
    const compute = this.store.get('compute', computeId);
    // A revert may have put another machine in its place meanwhile.
    if (compute?.run && this.folders.run(computeId, compute.run.number) === runFolder) {
      const { run, ...rest } = compute;
      this.store.put('compute', computeId, { ...rest, failure });
      await this.leases.releaseAllOf(run.uuid);
    }
    await discardRun(runFolder);
    this.changed(computeId);
  }
}

/** On whose behalf a call is made, as far as it says so. */
export type CallName = { operationId: string; stepId: string } | undefined;

function callKey(method: string, call: CallName): string | undefined {
  return call ? JSON.stringify([method, call.operationId, call.stepId]) : undefined;
}

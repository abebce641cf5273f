/**
 * An infrastructure in memory that survives the VNFM: guests with memory and disks, holds with a
 * watchdog, snapshots.
 */
import { create } from '@bufbuild/protobuf';
import { durationFromMs, timestampFromMs } from '@bufbuild/protobuf/wkt';
import { LeaseSchema } from '../../../gen/nfv/common/v1/common_pb.js';
import { CapabilityName } from '../../../gen/nfv/driver/v1/driver_pb.js';
import {
  type ComputeSpec,
  ComputeState,
  type InstanceSnapshot,
  type VirtualCompute,
  VirtualComputeSchema,
} from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { aborted, notFound } from '../../../sdk/errors.ts';

/** The driver of all guests, and its kind. */
export const fakeDriver = 'fake';

type Lease = { leaseId: string; atMs: number; deadlineMs: number; timer: NodeJS.Timeout };

export type Guest = {
  computeId: string;
  spec: ComputeSpec;
  state: ComputeState;
  /** What the guest knows. */
  memory: number;
  freeze?: Lease | undefined;
  /**
   * File systems are frozen; true without a lease after loading memory that was captured frozen.
   */
  quiesced: boolean;
  hold?: Lease | undefined;
  /** It was suspended when its hold began: the end of the hold does not let it run. */
  suspended?: boolean;
  /** How often it was let run, by whom: for "never both held and forgotten". */
  watchdogs: number;
};

export type Snapshot = { info: InstanceSnapshot; memory: number; disks: Record<string, string> };

/** One call as the world saw it. */
export type Call = { method: string; id: string; atMs: number; step: string };

type Hook = (call: Call) => void | Promise<void>;

export class FakeWorld {
  readonly guests = new Map<string, Guest>();
  /** The content of volumes. */
  readonly volumes = new Map<string, string>();
  readonly networks = new Set<string>();
  readonly snapshots = new Map<string, Snapshot>();
  readonly calls: Call[] = [];
  readonly #hooks: { method: string; id: string; hook: Hook }[] = [];
  readonly #outcomes = new Map<string, unknown>();
  readonly #expired = new Set<string>();
  #leases = 0;
  /** Of the hosts, as in the stamp of what is captured on them. */
  cpuModel = 'one';
  missing = new Map<CapabilityName, string>();

  /**
   * Runs before each call of a method (of one resource, when an id is given); what it throws is the
   * call's error.
   */
  before(method: string, id: string, hook: Hook): void {
    this.#hooks.push({ method, id, hook });
  }

  /** Undoes all `before`. */
  clearHooks(): void {
    this.#hooks.length = 0;
  }

  /** Runs a mutating call once for each operation and step: a repeat gets the first outcome. */
  async once<T>(
    method: string,
    id: string,
    call: { operationId: string; stepId: string } | undefined,
    work: () => T | Promise<T>,
  ): Promise<T> {
    const step = call ? `${call.operationId}/${call.stepId}` : '';
    const seen: Call = { method, id, atMs: Date.now(), step: call?.stepId ?? '' };
    this.calls.push(seen);
    for (const { method: wanted, id: resource, hook } of this.#hooks) {
      if (wanted === method && (resource === '' || id.includes(resource))) await hook(seen);
    }
    const key = `${method} ${id} ${step}`;
    if (step !== '' && this.#outcomes.has(key)) return this.#outcomes.get(key) as T;
    const outcome = await work();
    if (step !== '') this.#outcomes.set(key, outcome);
    return outcome;
  }

  guest(computeId: string): Guest {
    const found = this.guests.get(computeId);
    if (!found) throw notFound('COMPUTE_UNKNOWN', `there is no compute "${computeId}"`);
    return found;
  }

  snapshot(snapshotId: string): Snapshot {
    const found = this.snapshots.get(snapshotId);
    if (!found) throw notFound('SNAPSHOT_UNKNOWN', `there is no snapshot "${snapshotId}"`);
    return found;
  }

  lease(deadlineMs: number, expired: () => void): Lease {
    const leaseId = `lease-${++this.#leases}`;
    const timer = setTimeout(() => {
      this.#expired.add(leaseId);
      expired();
    }, deadlineMs);
    timer.unref();
    return { leaseId, atMs: Date.now(), deadlineMs, timer };
  }

  hold(guest: Guest, deadlineMs: number): Lease {
    guest.suspended = guest.state === ComputeState.PAUSED && !guest.hold;
    guest.state = ComputeState.PAUSED;
    guest.hold = this.lease(deadlineMs, () => {
      guest.hold = undefined;
      guest.watchdogs++;
      this.letRun(guest);
    });
    return guest.hold;
  }

  letRun(guest: Guest): void {
    guest.state = guest.suspended ? ComputeState.PAUSED : ComputeState.RUNNING;
  }

  /** Ends a lease of a guest. ABORTED, LEASE_EXPIRED when its watchdog was first. */
  end(guest: Guest, what: 'hold' | 'freeze', leaseId: string): boolean {
    if (leaseId !== '' && this.#expired.has(leaseId)) {
      throw aborted('LEASE_EXPIRED', `${what} "${leaseId}" is over`);
    }
    const lease = guest[what];
    if (lease === undefined || (leaseId !== '' && lease.leaseId !== leaseId)) return false;
    clearTimeout(lease.timer);
    guest[what] = undefined;
    return true;
  }

  describe(guest: Guest): VirtualCompute {
    const { computeId, spec, state, quiesced, hold } = guest;
    return create(VirtualComputeSchema, {
      ...{ computeId, driver: fakeDriver, spec, state, quiesced },
      vnfChannel: `/fake/${computeId}`,
      ...(hold && { hold: leaseMessage(hold) }),
    });
  }

  /** Every guest runs freely: nothing is held or frozen. */
  get allFree(): boolean {
    return [...this.guests.values()].every((guest) => !guest.hold && !guest.quiesced);
  }

  /** Stops all watchdogs, so that a test can end. */
  close(): void {
    for (const { hold, freeze } of this.guests.values()) {
      clearTimeout(hold?.timer);
      clearTimeout(freeze?.timer);
    }
  }
}

export function leaseMessage({ leaseId, atMs, deadlineMs }: Omit<Lease, 'timer'>) {
  return create(LeaseSchema, {
    leaseId,
    duration: durationFromMs(deadlineMs),
    startTime: timestampFromMs(atMs),
    expireTime: timestampFromMs(atMs + deadlineMs),
  });
}

/** Everything that a driver may claim. */
export const allCapabilities: readonly CapabilityName[] = [
  CapabilityName.COMPUTE,
  CapabilityName.PAUSE,
  CapabilityName.QUIESCE,
  CapabilityName.MEMORY_EXTERNAL,
  CapabilityName.DISK_EXTERNAL_INCREMENTAL,
  CapabilityName.ATOMIC_DISKS,
  CapabilityName.HOT_PLUG,
];

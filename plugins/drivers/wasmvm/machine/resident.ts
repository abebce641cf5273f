import { aborted, failedPrecondition, unimplemented } from '../../../../sdk/errors.ts';
import { endedLeasesMax } from '../limits.ts';
import type { Machine } from './machine.ts';
import type { LeaseStatus, MachineStatus } from './protocol.ts';

type Timed = LeaseStatus & { deadlineMs: number };
type Shutdown = { deadlineMs: number; asked: boolean; done: () => void };

/**
 * A machine in the machine room with everything that decides whether it ticks: its run state, the
 * hold on it, captures in progress, the freeze of its file systems. `nowMs` is monotonic time
 * throughout.
 */
export class Resident {
  readonly machine: Machine;
  state: 'running' | 'paused' = 'running';
  quiesced = false;
  /** Its network cables are pulled: links stay down whatever else happens with it. */
  unplugged = false;
  /** Captures and restores in progress: it stands as long as there is one. */
  standing = 0;
  shutdown: Shutdown | undefined;
  #hold: Timed | undefined;
  #freeze: Timed | undefined;
  /** How leases ended, latest last. */
  readonly #ended = new Map<string, 'released' | 'expired'>();

  constructor(machine: Machine) {
    this.machine = machine;
  }

  /** Names it in the heartbeat. */
  get number(): number {
    return this.machine.config.number;
  }

  get ready(): boolean {
    return this.state === 'running' && this.standing === 0 && this.#hold === undefined;
  }

  get status(): MachineStatus {
    const { state, quiesced } = this;
    return this.#hold
      ? { state: 'paused', quiesced, hold: lease(this.#hold) }
      : { state, quiesced };
  }

  /** The next moment at which something ends by itself. */
  get deadlineMs(): number {
    // A frozen guest that is held is thawed when the hold ends, so its own deadline waits.
    const freeze =
      this.#hold || this.standing > 0 ? Infinity : (this.#freeze?.deadlineMs ?? Infinity);
    return Math.min(
      this.#hold?.deadlineMs ?? Infinity,
      freeze,
      this.shutdown?.deadlineMs ?? Infinity,
    );
  }

  hold(leaseId: string, durationMs: number, nowMs: number): LeaseStatus {
    if (this.#hold) throw this.#state('is held already');
    this.#hold = timed(leaseId, durationMs, nowMs);
    return lease(this.#hold);
  }

  isHeldBy(leaseId: string): boolean {
    return this.#hold?.leaseId === leaseId;
  }

  /**
   * Lets it run on. ABORTED with reason LEASE_EXPIRED when that lease is not the one that holds it.
   */
  release(leaseId: string): void {
    if (this.#hold && (leaseId === '' || leaseId === this.#hold.leaseId)) {
      this.#end(this.#hold.leaseId, 'released');
      this.#hold = undefined;
      return;
    }
    if (leaseId !== '' && this.#ended.get(leaseId) !== 'released') throw expired(leaseId);
  }

  quiesce(leaseId: string, durationMs: number, nowMs: number): LeaseStatus & { frozen: number } {
    if (!this.machine.canFreeze) {
      const text = `the image of ${this.machine.config.computeId} cannot freeze its file systems`;
      throw unimplemented('CAPABILITY_MISSING', text, { capability: 'QUIESCE' });
    }
    if (!this.ready) throw this.#state('is not running');
    if (this.quiesced) throw this.#state('is quiesced already');
    const frozen = this.machine.freeze();
    this.quiesced = true;
    this.#freeze = timed(leaseId, durationMs, nowMs);
    return { ...lease(this.#freeze), frozen };
  }

  /** Bounds the freeze of a guest whose restored memory is frozen. */
  limitFreeze(leaseId: string, durationMs: number, nowMs: number): void {
    this.#freeze = timed(leaseId, durationMs, nowMs);
  }

  unquiesce(leaseId: string): number {
    if (this.quiesced && (leaseId === '' || leaseId === this.#freeze?.leaseId)) {
      if (!this.ready) throw this.#state('is not running, so it cannot thaw');
      return this.#thaw('released');
    }
    if (leaseId !== '' && this.#ended.get(leaseId) !== 'released') throw expired(leaseId);
    return 0;
  }

  /** Ends what is over; true when something was. May throw GuestEnded. */
  expire(nowMs: number): boolean {
    let changed = false;
    if (this.#hold && nowMs >= this.#hold.deadlineMs) {
      this.#end(this.#hold.leaseId, 'expired');
      this.#hold = undefined;
      changed = true;
    }
    const free = this.#hold === undefined && this.standing === 0;
    if (free && this.#freeze && nowMs >= this.#freeze.deadlineMs) {
      this.#thaw('expired');
      changed = true;
    }
    return changed;
  }

  #thaw(how: 'released' | 'expired'): number {
    if (this.#freeze) this.#end(this.#freeze.leaseId, how);
    this.#freeze = undefined;
    this.quiesced = false;
    return this.machine.thaw();
  }

  #end(leaseId: string, how: 'released' | 'expired'): void {
    this.#ended.set(leaseId, how);
    for (const oldest of this.#ended.keys()) {
      if (this.#ended.size <= endedLeasesMax) break;
      this.#ended.delete(oldest);
    }
  }

  #state(text: string) {
    const { computeId } = this.machine.config;
    return failedPrecondition('COMPUTE_STATE', `${computeId} ${text}`, { compute_id: computeId });
  }
}

/** The answer to somebody whose lease is over. */
export function expired(leaseId: string) {
  const text = `lease ${leaseId} is not in force: its time was over, or the guest started anew`;
  return aborted('LEASE_EXPIRED', text, { lease_id: leaseId });
}

function timed(leaseId: string, durationMs: number, nowMs: number): Timed {
  return { leaseId, durationMs, startMs: Date.now(), deadlineMs: nowMs + durationMs };
}

function lease({ leaseId, startMs, durationMs }: Timed): LeaseStatus {
  return { leaseId, startMs, durationMs };
}

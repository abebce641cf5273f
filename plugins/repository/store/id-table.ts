import { idSize } from './limits.ts';

/** Filled slots out of all; beyond, probing gets long. */
const loadMax = 0.83;
const slotsMin = 1024;
const slotsMax = 2 ** 31;

/**
 * A fixed-size open-addressed table from ids to ordinals. It keeps 16 bits of each id, so what it
 * finds are candidates that the caller confirms. 6 bytes a slot and no object per id. Nothing is
 * ever removed.
 */
export class IdTable {
  private readonly mask: number;
  private readonly fingerprints: Uint16Array;
  /** Ordinal + 1; 0 is an empty slot. */
  private readonly ordinals: Uint32Array;
  private readonly room: number;
  private used = 0;

  /** Makes room for at least `entries` ids. */
  constructor(entries: number) {
    let slots = slotsMin;
    while (slots * loadMax < entries && slots < slotsMax) slots *= 2;
    this.mask = slots - 1;
    this.fingerprints = new Uint16Array(slots);
    this.ordinals = new Uint32Array(slots);
    this.room = Math.floor(slots * loadMax);
  }

  get isFull(): boolean {
    return this.used >= this.room;
  }

  get capacity(): number {
    return this.room;
  }

  /** Adds the id that begins at byte `at`. The same id may be added several times. */
  add(bytes: Uint8Array, at: number, ordinal: number): void {
    let slot = home(bytes, at) & this.mask;
    while (this.ordinals[slot] !== 0) slot = (slot + 1) & this.mask;
    this.fingerprints[slot] = fingerprint(bytes, at);
    this.ordinals[slot] = ordinal + 1;
    this.used += 1;
  }

  /**
   * Calls `accept` with the ordinals that may belong to id number `index`, in the order in which
   * they were added, until it returns true; returns whether it did.
   */
  some(ids: Uint8Array, index: number, accept: (ordinal: number) => boolean): boolean {
    const at = index * idSize;
    const wanted = fingerprint(ids, at);
    let slot = home(ids, at) & this.mask;
    for (;;) {
      const ordinal = this.ordinals[slot]!;
      if (ordinal === 0) return false;
      if (this.fingerprints[slot] === wanted && accept(ordinal - 1)) return true;
      slot = (slot + 1) & this.mask;
    }
  }
}

// Ids are digests, so any of their bits are as good as a hash of them.
function home(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}

function fingerprint(bytes: Uint8Array, at: number): number {
  return bytes[at + 4]! | (bytes[at + 5]! << 8);
}

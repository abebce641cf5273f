import type { ChangedMap } from './changed-map.ts';
import { rebase } from './changed-map.ts';
import type { Inventory, MapBase, Volume } from './inventory.ts';
import { logBytes, mergeLog } from './machine/change-log.ts';

type Log = { bits: SharedArrayBuffer; base: MapBase | undefined };

/** Deleted snapshots whose maps are remembered for captures that began before. */
const forwardsMax = 1024;

/**
 * What was written to each volume since the snapshot that its next map is relative to. Only in
 * memory: after a crash nothing is known, so the next snapshot has no map.
 */
export class VolumeLogs {
  readonly #logs = new Map<string, Log>();
  readonly #forwards = new Map<string, Record<string, ChangedMap>>();

  /** The log as the machine room shares it. */
  of(volume: Volume): Log {
    let log = this.#logs.get(volume.id);
    if (!log) {
      log = { bits: new SharedArrayBuffer(logBytes(volume.sizeBytes)), base: undefined };
      this.#logs.set(volume.id, log);
    }
    return log;
  }

  /** Takes over what was kept over a clean stop. */
  restore(volume: Volume, base: MapBase, bits: Uint8Array): void {
    const log = this.of(volume);
    if (bits.length !== log.bits.byteLength) return;
    new Uint8Array(log.bits).set(bits);
    log.base = base;
  }

  /** Begins anew from an image that the volume is now equal to. */
  begin(volume: Volume, base: MapBase): void {
    const log = this.of(volume);
    new Uint8Array(log.bits).fill(0);
    log.base = base;
  }

  /**
   * Takes the base away for the time of a capture, which takes the marks: should nobody hear what
   * became of them, the next map is lost instead of wrong. Returns the base.
   */
  suspend(volume: Volume): MapBase | undefined {
    const log = this.of(volume);
    const { base } = log;
    log.base = undefined;
    return base;
  }

  /** Puts back the base and the marks that were taken, after a capture that failed. */
  resume(
    volume: Volume,
    base: MapBase | undefined,
    taken: Uint8Array | undefined,
    inventory: Inventory,
  ): void {
    const log = this.of(volume);
    const bits = taken ?? new Uint8Array(log.bits.byteLength);
    const map = this.resolve(base && { base, bits }, inventory);
    mergeLog(new Uint8Array(log.bits), map?.bits ?? bits);
    log.base = map?.base;
  }

  forget(volumeId: string): void {
    this.#logs.delete(volumeId);
  }

  /** The logs that have a base, for a clean stop. */
  *known(): Iterable<[string, { base: MapBase; bits: Uint8Array }]> {
    for (const [id, { base, bits }] of this.#logs) {
      if (base) yield [id, { base, bits: new Uint8Array(bits).slice() }];
    }
  }

  /**
   * Makes logs that begin at a snapshot begin at that snapshot's own base, because it goes away.
   */
  forward(snapshotId: string, maps: Record<string, ChangedMap>): void {
    this.#forwards.set(snapshotId, maps);
    for (const oldest of this.#forwards.keys()) {
      if (this.#forwards.size <= forwardsMax) break;
      this.#forwards.delete(oldest);
    }
    for (const log of this.#logs.values()) {
      if (log.base?.snapshotId !== snapshotId) continue;
      const map = maps[log.base.imageName];
      if (map) mergeLog(new Uint8Array(log.bits), map.bits);
      log.base = map?.base;
    }
  }

  /** The map of a capture whose base may have been deleted meanwhile. */
  resolve(map: ChangedMap | undefined, inventory: Inventory): ChangedMap | undefined {
    let at = map;
    while (at && inventory.snapshots.get(at.base.snapshotId)?.stage !== 'SEALED') {
      at = rebase(at, this.#forwards.get(at.base.snapshotId)?.[at.base.imageName]);
    }
    return at;
  }
}

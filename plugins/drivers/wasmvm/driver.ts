import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Code, isRpcError } from '../../../sdk/errors.ts';
import { KeyedLock } from '../../../sdk/keyed-lock.ts';
import type { PluginContext } from '../../../sdk/plugin.ts';
import { openSqliteStore } from '../../../sdk/records/sqlite-store.ts';
import { removeLinked } from '../../../sdk/snapshot-folder.ts';
import { parseConfig } from './config.ts';
import { type Core, computeKey, startGuest, writePower } from './core.ts';
import { type Folders, openFolders, socketName } from './folders.ts';
import { GuestNumbers } from './guest-numbers.ts';
import { Images } from './images.ts';
import { Inventory, type Power } from './inventory.ts';
import { blamelessRestartsMax } from './limits.ts';
import type { FromRoom } from './machine/protocol.ts';
import { MachineRoom } from './machine-room.ts';
import { Openings } from './openings.ts';
import { Outcomes } from './outcomes.ts';
import { VnfChannels } from './vnf-channels.ts';
import { VolumeLogs } from './volume-logs.ts';
import { Watchers } from './watchers.ts';

export type DriverContext = Pick<
  PluginContext,
  'instanceId' | 'dataFolder' | 'config' | 'clock' | 'random' | 'logger'
>;

/** After this time without a loss of the machine room counting begins anew, in milliseconds. */
const calmMs = 600_000;
const powerFailure = 'started again as after a power failure';

/**
 * An open driver. Guests that ran when the one before it ended run again, from their disks with
 * empty memory.
 */
export class Driver {
  readonly core: Core;
  readonly openings: Openings;
  /** How often in a row, and when last, the machine room was lost without anybody to blame. */
  #blameless = 0;
  #lostMs = 0;

  private constructor(core: Core, openings: Openings) {
    this.core = core;
    this.openings = openings;
  }

  static async open(context: DriverContext): Promise<Driver> {
    const { instanceId, clock, random, logger } = context;
    const config = parseConfig(context.config);
    const folders = await openFolders(context.dataFolder);
    const inventory = await Inventory.open(openSqliteStore({ path: folders.records, clock }));
    // The room calls back only after this function went on, and then the driver is there.
    let driver: Driver | undefined;
    const room = new MachineRoom({
      tickMs: config.tickMs,
      stallMs: config.stallMs,
      ...(config.schedule ? { seed: config.schedule.seed } : {}),
      logger,
      onMessage: (message) => driver?.onMessage(message),
      onLost: (guestNumber, reason) => driver?.onLost(guestNumber, reason),
    });
    const core: Core = {
      instanceId,
      config,
      folders,
      inventory,
      images: new Images(config.imageFolders, folders.programs),
      room,
      logs: new VolumeLogs(),
      channels: new VnfChannels(
        folders.channels,
        async (computeId, line) => (await room.call('channel', { computeId, line })).taken,
        logger,
      ),
      locks: new KeyedLock(),
      outcomes: new Outcomes(),
      watchers: new Watchers(),
      clock,
      random,
      logger,
      guestNumbers: new GuestNumbers(),
      ended: new Map(),
    };
    driver = new Driver(core, new Openings(clock, random));
    try {
      await driver.#begin();
      return driver;
    } catch (error) {
      await driver.#release();
      throw error;
    }
  }

  /**
   * Cuts the guests off, which start again with the driver, and keeps what was written to their
   * disks.
   */
  async close(): Promise<void> {
    await this.core.room.close();
    const entries = [...this.core.logs.known()].map(
      ([id, { base, bits }]) => [id, { base, bits: Buffer.from(bits).toString('base64') }] as const,
    );
    await this.core.inventory.saveLogs(new Map(entries));
    await this.#release();
  }

  async #release(): Promise<void> {
    await this.core.room.close();
    await this.core.channels.closeAll();
    await this.core.inventory.close();
  }

  async #begin(): Promise<void> {
    const { inventory, logs, channels } = this.core;
    await sweep(this.core.folders, inventory);
    // Taken before any guest writes: from now on they would be out of date after a crash.
    for (const [id, { base, bits }] of await inventory.takeLogs()) {
      const volume = inventory.volumes.get(id);
      if (volume) logs.restore(volume, base, new Uint8Array(Buffer.from(bits, 'base64')));
    }
    for (const compute of inventory.computes.values()) {
      if (compute.program.hasChannel) await channels.open(compute.id);
    }
    await this.#startAgain('the driver ended');
  }

  /** Starts all guests that should run; those that stood in memory have lost it. */
  async #startAgain(reason: string): Promise<void> {
    for (const { id } of [...this.core.inventory.computes.values()]) {
      await this.core.locks.run([computeKey(id)], () => this.#startOne(id, reason));
    }
  }

  async #startOne(computeId: string, reason: string): Promise<void> {
    const { core } = this;
    const compute = core.inventory.computes.get(computeId);
    if (!compute || (await core.room.call('status', { computeId }))) return;
    if (compute.power === 'paused') {
      await writePower(core, computeId, 'failed', `it was paused when ${reason}; memory is lost`);
    }
    if (compute.power !== 'on') return;
    try {
      await startGuest(core, compute);
      await writePower(core, computeId, 'on', `${powerFailure}: ${reason}`);
    } catch (error) {
      core.logger.error('a guest did not start again', { computeId, error });
      // The room was lost once more: whoever replaces it starts the guest.
      if (isRpcError(error, Code.UNAVAILABLE)) return;
      await writePower(core, computeId, 'failed', `it did not start again after ${reason}`);
    }
    core.watchers.notify(computeId);
  }

  /** Something happened in the machine room. */
  onMessage(message: Exclude<FromRoom, { kind: 'answer' | 'error' }>): void {
    const { core } = this;
    const { computeId } = message;
    if (message.kind === 'channel') core.channels.send(computeId, message.line);
    else if (message.kind === 'changed') core.watchers.notify(computeId);
    else this.#end(computeId, message.how, message.reason);
  }

  /**
   * The machine room was lost with all guests: the one that computed too long fails, the others
   * start again.
   */
  onLost(guestNumber: number, reason: string): void {
    const { core } = this;
    const culprit = core.guestNumbers.computeOf(guestNumber);
    core.logger.error('the machine room was lost', { reason, culprit: culprit ?? 'nobody' });
    for (const { id } of core.inventory.computes.values()) core.outcomes.forget(id);
    const now = core.clock.monotonicMs();
    if (culprit !== undefined || now - this.#lostMs > calmMs) this.#blameless = 0;
    if (culprit === undefined) this.#blameless++;
    this.#lostMs = now;
    if (culprit !== undefined) {
      this.#end(culprit, 'failed', `it computed too long in one tick: ${reason}`);
    } else if (this.#blameless > blamelessRestartsMax) {
      for (const { id } of core.inventory.computes.values()) this.#end(id, 'failed', reason);
    }
    this.#startAgain(reason).catch((error) =>
      core.logger.error('guests did not start again', { error }),
    );
  }

  #end(computeId: string, how: 'off' | 'failed', reason: string): void {
    const { core } = this;
    const entry: { power: Power; reason: string } = { power: how, reason };
    const compute = core.inventory.computes.get(computeId);
    if (!compute || compute.power === 'off') return;
    core.ended.set(computeId, entry);
    core.outcomes.forget(computeId);
    core.watchers.notify(computeId);
    const write = core.locks.run([computeKey(computeId)], async () => {
      // Started or reverted meanwhile: what ended is of the past.
      if (core.ended.get(computeId) !== entry) return;
      await writePower(core, computeId, how, reason);
      core.ended.delete(computeId);
    });
    write.catch((error) =>
      core.logger.error('the end of a guest was not recorded', { computeId, error }),
    );
  }
}

/** Removes what a killed driver left half-made: everything that no record knows. */
async function sweep(folders: Folders, inventory: Inventory): Promise<void> {
  const computes = [...inventory.computes.values()];
  const known = {
    volumes: new Set([...inventory.volumes.values()].map(({ file }) => file)),
    snapshots: new Set(inventory.snapshots.keys()),
    programs: new Set(computes.map(({ programId }) => `${programId}.wasm`)),
    consoles: new Set(computes.map(({ id }) => `${id}.log`)),
    channels: new Set(computes.map(({ id }) => socketName(id))),
  };
  for (const [name, keep] of Object.entries(known)) {
    const folder = folders[name as keyof typeof known];
    for (const entry of await readdir(folder)) {
      if (!keep.has(entry)) await removeLinked(join(folder, entry));
    }
  }
}

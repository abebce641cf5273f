import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { KeyedLock } from '../../../sdk/keyed-lock.ts';
import type { Clock } from '../../../sdk/ports/clock.ts';
import type { Logger } from '../../../sdk/ports/logger.ts';
import type { Random } from '../../../sdk/ports/random.ts';
import type { WasmvmConfig } from './config.ts';
import type { Folders } from './folders.ts';
import type { GuestNumbers } from './guest-numbers.ts';
import type { Images } from './images.ts';
import type { Compute, Inventory, Power, Volume } from './inventory.ts';
import { memoryMibDefault } from './limits.ts';
import type { MachineConfig } from './machine/protocol.ts';
import type { MachineRoom } from './machine-room.ts';
import type { Outcomes } from './outcomes.ts';
import type { VnfChannels } from './vnf-channels.ts';
import type { VolumeLogs } from './volume-logs.ts';
import type { Watchers } from './watchers.ts';

/** The parts that all operations of the driver work with. */
export type Core = {
  /** The plugin instance, as resources name it. */
  instanceId: string;
  config: WasmvmConfig;
  folders: Folders;
  inventory: Inventory;
  images: Images;
  room: MachineRoom;
  logs: VolumeLogs;
  channels: VnfChannels;
  locks: KeyedLock;
  outcomes: Outcomes;
  watchers: Watchers;
  clock: Clock;
  random: Random;
  logger: Logger;
  /** Guests by the number of their latest start. */
  guestNumbers: GuestNumbers;
  /** Guests that ended by themselves and whose records do not say so yet. */
  ended: Map<string, { power: Power; reason: string }>;
};

/** The key under which changes to the maps of snapshots are serialised. */
export const mapsKey = 'maps';
export const computeKey = (id: string) => `compute/${id}`;
export const volumeKey = (id: string) => `volume/${id}`;
export const networkKey = (id: string) => `network/${id}`;
export const snapshotKey = (id: string) => `snapshot/${id}`;

const mibPages = 16;

/** Where the bytes of a volume are. */
export function volumePath(core: Core, volume: Volume): string {
  return join(core.folders.volumes, volume.file);
}

/** A name for a file of a volume that was never used before. */
export function freshVolumeFile(core: Core, volumeId: string): string {
  return `${volumeId}.${hex(core, 8)}.raw`;
}

/** The folder of the images of a snapshot. */
export function snapshotFolder(core: Core, snapshotId: string): string {
  return join(core.folders.snapshots, snapshotId);
}

/** The file of an image within its snapshot. */
export function imagePath(core: Core, snapshotId: string, imageName: string): string {
  return join(snapshotFolder(core, snapshotId), imageFile(imageName));
}

export const imageFile = (imageName: string) => `${imageName}.img`;

export function hex(core: Core, byteCount: number): string {
  return Buffer.from(core.random.bytes(byteCount)).toString('hex');
}

/** Grows with every revert, and can never be equal to an earlier one. */
export function generationId(core: Core, generation: number): string {
  return `${generation}-${hex(core, 8)}`;
}

/**
 * What a guest is started with. `files` replaces the files of volumes, as a revert does before its
 * commit.
 */
export function machineConfig(
  core: Core,
  compute: Compute,
  files: ReadonlyMap<string, string> = new Map(),
): MachineConfig {
  const { spec, program } = compute;
  const pagesAsked = spec.memoryMib * mibPages;
  return {
    computeId: compute.id,
    number: core.guestNumbers.take(compute.id),
    programId: compute.programId,
    programPath: core.images.programPath(compute.programId),
    globals: program.globals,
    canFreeze: program.canFreeze,
    canShutDown: program.canShutDown,
    pages: Math.max(pagesAsked, program.pagesMin),
    pagesMax: Math.max(pagesAsked || memoryMibDefault * mibPages, program.pagesMin),
    disks: spec.volumes.map((attachment) => {
      const volume = core.inventory.volume(attachment.volumeId);
      return {
        volumeId: volume.id,
        name: attachment.name,
        path: join(core.folders.volumes, files.get(volume.id) ?? volume.file),
        sizeBytes: volume.sizeBytes,
        log: core.logs.of(volume).bits,
      };
    }),
    interfaces: spec.interfaces.map(({ networkId, macAddress }, index) => ({
      networkId,
      mac: macAddress || derivedMac(compute.id, index),
    })),
    parameters: { ...spec.guestParameters },
    generationId: compute.generationId,
    seed: machineSeed(core, compute.id),
    consolePath: join(core.folders.consoles, `${compute.id}.log`),
  };
}

/** Starts a guest from its disks with empty memory. */
export async function startGuest(core: Core, compute: Compute): Promise<void> {
  await core.room.call('start', { config: machineConfig(core, compute) });
}

/** Writes what shall become of a guest, and why. Does nothing when nothing changes. */
export async function writePower(
  core: Core,
  computeId: string,
  power: Power,
  reason = '',
): Promise<void> {
  const compute = core.inventory.computes.get(computeId);
  if (!compute || (compute.power === power && compute.reason === reason)) return;
  await core.inventory.write({ computes: [{ ...compute, power, reason }] });
  core.watchers.notify(computeId);
}

/** The same address for the same interface of the same resource, in the range of local ones. */
function derivedMac(computeId: string, index: number): string {
  const digest = createHash('sha256').update(`${computeId}/${index}`).digest('hex');
  return `52:54:00:${digest.slice(0, 2)}:${digest.slice(2, 4)}:${digest.slice(4, 6)}`;
}

function machineSeed(core: Core, computeId: string): string {
  const { schedule } = core.config;
  if (!schedule) return hex(core, 8);
  const digest = createHash('sha256').update(`${schedule.seed}/${computeId}`).digest('hex');
  return digest.slice(0, 16);
}

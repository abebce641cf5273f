import { strict as assert } from 'node:assert';
import { ComputeOperation } from '../../../gen/nfv/driver/v1/driver_pb.js';
import {
  ComputeState,
  type InstanceSnapshot,
  type VirtualCompute,
} from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { askVnf, type VnfStatus } from '../../support/vnf-client.ts';
import { eventually, type Kit } from './kit.ts';
import type { DiskProfile, Guest, Role } from './profile.ts';

export type { Guest, Role };

const bootMsDefault = 120_000;
const silenceMsDefault = 1_000;
/** An answer within this time counts, in milliseconds; a client asks again. */
const answerMs = 5_000;
const sizeBytesDefault = 8n * 1024n * 1024n;

/** Makes a volume as a profile describes it. */
export async function makeVolume(kit: Kit, disk: DiskProfile): Promise<string> {
  const volumeId = kit.id(disk.name);
  kit.tracker.volumes.add(volumeId);
  const { sizeBytes, image } = disk;
  await kit.client.createVolume(
    image ? { volumeId, image } : { volumeId, sizeBytes: sizeBytes ?? sizeBytesDefault },
  );
  return volumeId;
}

export async function makeNetwork(kit: Kit): Promise<string> {
  const networkId = kit.id('net');
  kit.tracker.networks.add(networkId);
  await kit.client.createNetwork({ networkId });
  return networkId;
}

/** Makes a guest, stopped. */
export async function makeGuest(kit: Kit, role: Role, network?: string): Promise<Guest> {
  const profile = kit.options.guests[role];
  const networkId = network ?? (await makeNetwork(kit));
  const volumes: Record<string, string> = {};
  for (const disk of profile.disks) volumes[disk.name] = await makeVolume(kit, disk);
  const computeId = kit.id(role);
  kit.tracker.computes.add(computeId);
  await kit.client.createCompute({
    computeId,
    spec: {
      image: profile.image,
      memoryMib: profile.memoryMib ?? 0,
      guestParameters: { role, ...profile.guestParameters },
      interfaces: [{ networkId }],
      volumes: profile.disks.map(({ name, boot }) => ({
        name,
        boot: boot ?? false,
        volumeId: volumes[name] as string,
      })),
    },
  });
  return { role, computeId, networkId, volumes };
}

/** A guest whose VNF answers: a new one, or the one that checks share. */
export async function bootGuest(
  kit: Kit,
  role: Role = 'gateway',
  network?: string,
): Promise<Guest> {
  if (!kit.options.sharesGuest || role !== 'gateway' || network) {
    return bootNew(kit, role, network);
  }
  const present = kit.shared;
  if (present && (await isReusable(kit, present))) return present;
  if (present) track(kit, present);
  kit.shared = await bootNew(kit, role);
  untrack(kit, kit.shared);
  return kit.shared;
}

/** It runs and answers, and nothing of an earlier check is on it. */
async function isReusable(kit: Kit, guest: Guest): Promise<boolean> {
  try {
    const { state, hold, quiesced } = await compute(kit, guest);
    const { fault } = await ask(kit, guest);
    return state === ComputeState.RUNNING && !hold && !quiesced && !fault;
  } catch {
    return false;
  }
}

/** Has a guest deleted after this check. */
function track({ tracker }: Kit, { computeId, networkId, volumes }: Guest): void {
  tracker.computes.add(computeId);
  tracker.networks.add(networkId);
  for (const id of Object.values(volumes)) tracker.volumes.add(id);
}

/** Keeps a guest beyond this check. */
function untrack({ tracker }: Kit, { computeId, networkId, volumes }: Guest): void {
  tracker.computes.delete(computeId);
  tracker.networks.delete(networkId);
  for (const id of Object.values(volumes)) tracker.volumes.delete(id);
}

async function bootNew(kit: Kit, role: Role, network?: string): Promise<Guest> {
  const guest = await makeGuest(kit, role, network);
  await operate(kit, guest, ComputeOperation.START);
  await booted(kit, guest);
  return guest;
}

/** Both components of the demo VNF on one network, with traffic between them. */
export async function bootPair(kit: Kit): Promise<{ gateway: Guest; database: Guest }> {
  const networkId = await makeNetwork(kit);
  const [gateway, database] = await Promise.all([
    bootGuest(kit, 'gateway', networkId),
    bootGuest(kit, 'database', networkId),
  ]);
  await counts(kit, database, 3);
  return { gateway, database };
}

export async function compute(kit: Kit, { computeId }: Guest): Promise<VirtualCompute> {
  const answer = await kit.client.getCompute({ computeId });
  assert(answer.compute);
  return answer.compute;
}

export async function operate(
  kit: Kit,
  { computeId }: Guest,
  operation: ComputeOperation,
): Promise<VirtualCompute> {
  const answer = await kit.client.operateCompute({ computeId, operation });
  assert(answer.compute);
  return answer.compute;
}

export async function assertState(kit: Kit, guest: Guest, state: ComputeState): Promise<void> {
  const found = await compute(kit, guest);
  assert.equal(ComputeState[found.state], ComputeState[state], found.stateReason);
}

/** Asks the VNF's software in a guest. */
export async function ask(
  kit: Kit,
  guest: Guest,
  operation = 'status',
  withinMs = answerMs,
): Promise<VnfStatus> {
  const { vnfChannel } = await compute(kit, guest);
  assert(vnfChannel, 'the compute names no VNF channel although the driver claims VNF_CHANNEL');
  return askVnf(vnfChannel, operation, withinMs);
}

export async function booted(kit: Kit, guest: Guest): Promise<VnfStatus> {
  const withinMs = kit.options.bootMs ?? bootMsDefault;
  return eventually(`${guest.role} boots`, () => ask(kit, guest), withinMs);
}

/** The guest runs: its VNF answers. */
export async function assertAlive(kit: Kit, guest: Guest): Promise<VnfStatus> {
  return eventually(`${guest.role} answers`, () => ask(kit, guest));
}

/** The guest does not run: in the time in which it would have answered it did not. */
export async function assertSilent(kit: Kit, guest: Guest): Promise<void> {
  const withinMs = kit.options.silenceMs ?? silenceMsDefault;
  const answer = await ask(kit, guest, 'status', withinMs).catch(() => undefined);
  assert.equal(answer, undefined, 'a guest that must stand answered');
}

/** Waits until a component has counted this much further. */
export async function counts(kit: Kit, guest: Guest, more: number): Promise<VnfStatus> {
  const { counter } = await assertAlive(kit, guest);
  return eventually(`${guest.role} counts on`, async () => {
    const status = await ask(kit, guest);
    return status.counter >= counter + more && status;
  });
}

/** Captures a guest: memory too, and all of its volumes. */
export async function snapshot(
  kit: Kit,
  guest: Guest,
  more: { leaseId?: string; memory?: boolean; snapshotId?: string } = {},
): Promise<InstanceSnapshot> {
  const snapshotId = more.snapshotId ?? kit.id('snap');
  kit.tracker.snapshots.add(snapshotId);
  const answer = await kit.client.createInstanceSnapshot({
    computeId: guest.computeId,
    snapshotId,
    memory: more.memory ?? true,
    volumeIds: Object.values(guest.volumes),
    leaseId: more.leaseId ?? '',
  });
  assert(answer.snapshot);
  return answer.snapshot;
}

import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { create, equals, fromJson, toJson } from '@bufbuild/protobuf';
import { durationMs } from '@bufbuild/protobuf/wkt';
import { ComputeOperation, type DriverService } from '../../../../gen/nfv/driver/v1/driver_pb.js';
import {
  type ComputeSpec,
  ComputeSpecSchema,
} from '../../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import {
  alreadyExists,
  failedPrecondition,
  invalidArgument,
  resourceExhausted,
} from '../../../../sdk/errors.ts';
import type { Handlers } from '../../../../sdk/server.ts';
import { computeLock, withPinned } from '../disks/tidy.ts';
import { unknownCompute, unknownNetwork, unknownVolume, wrongState } from '../errors.ts';
import { disksMax, interfacesMax } from '../machine/arguments.ts';
import { boot, liveMachine, observe, stop } from '../machine/lifecycle.ts';
import { portsPerNetwork } from '../machine/links.ts';
import type { CallName, DriverContext } from '../state/context.ts';
import type { ComputeRecord } from '../state/records.ts';
import { computeMessage, ownerOf } from './messages.ts';

const gracefulMsDefault = 30_000;
const gracefulMsMax = 600_000;
/** How long a guest may stay frozen that was reverted into a pause and is let run. */
const thawMs = 30_000;
const memoryMibMin = 64;
const parameterPattern = /^[a-z0-9_.]+$/;
/** Goes onto the kernel's command line: no blanks, no quotes. */
const valuePattern = /^[\w.:/@+,=-]{0,256}$/;
const macPattern = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i;
const addressPattern = /^\d{1,3}(\.\d{1,3}){3}\/\d{1,2}$/;
const watchQueueMax = 4096;

type ComputeHandlers = Pick<
  Handlers<typeof DriverService>,
  | 'createCompute'
  | 'getCompute'
  | 'listComputes'
  | 'watchComputes'
  | 'recoverCompute'
  | 'operateCompute'
  | 'deleteCompute'
  | 'attachVolume'
  | 'detachVolume'
>;

/** The calls about compute resources. */
export function computeHandlers(context: DriverContext): ComputeHandlers {
  const locked = <T>(computeId: string, work: () => Promise<T>) =>
    context.locks.run(computeLock(computeId), work);
  const answer = async (computeId: string) => ({
    compute: await computeMessage(context, computeId),
  });
  return {
    createCompute: ({ computeId, spec }) =>
      // One lock for all creations: two of them must not take the same volume or the same end of a
      // network.
      context.locks.run('create compute', async () => {
        const existing = context.store.get('compute', computeId);
        if (existing) {
          assertSameSpec(existing, spec!);
        } else {
          context.store.put('compute', computeId, await newRecord(context, computeId, spec!));
          context.changed(computeId);
        }
        return answer(computeId);
      }),
    getCompute: ({ computeId }) => answer(computeId),
    listComputes: async () => ({
      computes: await Promise.all(
        context.store.list('compute').map(({ computeId }) => computeMessage(context, computeId)),
      ),
    }),
    watchComputes: (_, { signal }) => watchComputes(context, signal),
    recoverCompute: ({ computeId }) =>
      locked(computeId, async () => {
        if (!(await liveMachine(context, computeId))) throw unknownCompute(computeId);
        return answer(computeId);
      }),
    operateCompute: ({ computeId, operation, gracefulTimeout, call }) =>
      locked(computeId, async () => {
        const gracefulMs = gracefulTimeout ? durationMs(gracefulTimeout) : gracefulMsDefault;
        await operate(context, computeId, operation, Math.min(gracefulMs, gracefulMsMax), call);
        return answer(computeId);
      }),
    deleteCompute: ({ computeId }) =>
      locked(computeId, async () => {
        if (!context.store.get('compute', computeId)) return {};
        await stop(context, computeId, undefined);
        context.store.delete('compute', computeId);
        await rm(context.folders.machine(computeId), { recursive: true, force: true });
        context.changes.emit('deleted', computeId);
        return {};
      }),
    attachVolume: ({ computeId, attachment, position }) => {
      const { volumeId, name } = attachment!;
      // A merge of a volume that nobody has locks no compute resource: it is over, and no other begins, before somebody has it.
      const layers = () => [context.store.get('volume', volumeId)?.activeLayerId ?? []].flat();
      const attach = async () => {
        const present = context.compute(computeId).attachments.find((a) => a.volumeId === volumeId);
        if (present && present.name !== name) throw reused(volumeId);
        if (!present) {
          const { spec, compute } = await stoppedSpec(context, computeId);
          spec.volumes.splice(position ?? spec.volumes.length, 0, attachment!);
          replaceVolumes(context, compute, spec);
        }
        return answer(computeId);
      };
      return withPinned(context, layers, () => locked(computeId, attach));
    },
    detachVolume: ({ computeId, volumeId }) =>
      locked(computeId, async () => {
        if (!context.compute(computeId).attachments.some((a) => a.volumeId === volumeId)) {
          return answer(computeId);
        }
        const { spec, compute } = await stoppedSpec(context, computeId);
        spec.volumes = spec.volumes.filter((volume) => volume.volumeId !== volumeId);
        replaceVolumes(context, compute, spec);
        return answer(computeId);
      }),
  };
}

async function operate(
  context: DriverContext,
  computeId: string,
  operation: ComputeOperation,
  gracefulMs: number,
  call: CallName,
): Promise<void> {
  const compute = context.compute(computeId);
  if (context.earlierCall(compute, `operate ${operation}`, call)) return;
  const { state } = await observe(context, computeId);
  if (operation === ComputeOperation.START && state === 'RUNNING') {
    // Started by an earlier try whose outcome was not recorded.
  } else if (operation === ComputeOperation.START) {
    if (state !== 'STOPPED' && state !== 'FAILED') {
      throw wrongState(computeId, state, 'STOPPED or FAILED');
    }
    assertNotOpen(context, compute);
    await boot(context, compute);
  } else if (operation === ComputeOperation.STOP_GRACEFUL) {
    await stop(context, computeId, gracefulMs);
  } else if (operation === ComputeOperation.STOP_FORCEFUL) {
    await stop(context, computeId, undefined);
  } else if (operation === ComputeOperation.PAUSE) {
    if (state !== 'RUNNING') throw wrongState(computeId, state, 'RUNNING');
    context.update(computeId, { wanted: 'PAUSED' });
    await context.machine(computeId)!.pause();
  } else if (operation === ComputeOperation.UNPAUSE) {
    await unpause(context, computeId, state);
  } else if (operation === ComputeOperation.DISCONNECT || operation === ComputeOperation.CONNECT) {
    if (state !== 'RUNNING' && state !== 'PAUSED') {
      throw wrongState(computeId, state, 'RUNNING or PAUSED');
    }
    const plugged = operation === ComputeOperation.CONNECT;
    await context.machine(computeId)!.setCables(compute.interfaces.length, plugged);
  } else throw invalidArgument('FIELD_VIOLATION', `operation ${operation} is unknown`);
  const present = context.compute(computeId);
  context.update(computeId, {
    calls: context.withCall(present, `operate ${operation}`, call),
  });
  context.changed(computeId);
}

async function unpause(context: DriverContext, computeId: string, state: string): Promise<void> {
  if (state !== 'PAUSED') throw wrongState(computeId, state, 'PAUSED');
  if (await context.leases.find(computeId, 'hold')) {
    throw wrongState(computeId, 'held', 'PAUSED without a hold: release the hold instead');
  }
  const machine = context.machine(computeId)!;
  if (context.compute(computeId).frozen) {
    // Its memory was loaded frozen: from the moment it runs, a deadline sees to the thaw.
    await context.leases.take({
      kind: 'freeze',
      computeId,
      runFolder: machine.folder,
      uuid: machine.uuid,
      durationMs: thawMs,
      resume: false,
      thaw: true,
    });
  }
  context.update(computeId, { wanted: 'RUNNING', frozen: false });
  await machine.resume();
}

/** Somebody copies the disks: they must stand still. */
function assertNotOpen(context: DriverContext, compute: ComputeRecord): void {
  const ids = new Set(compute.attachments.map(({ volumeId }) => volumeId));
  const open = context.store
    .list('opening')
    .find(({ volumeId }) => volumeId !== undefined && ids.has(volumeId));
  if (!open) return;
  const text = `volume ${open.volumeId} of ${compute.computeId} is open for reading; close it first`;
  throw failedPrecondition('VOLUME_OPEN', text, { volume_id: open.volumeId! });
}

const reused = (id: string) =>
  alreadyExists('ID_REUSED', `"${id}" exists and differs from what was asked for`, { id });

function assertSameSpec(existing: ComputeRecord, spec: ComputeSpec): void {
  if (!equals(ComputeSpecSchema, fromJson(ComputeSpecSchema, existing.spec), spec)) {
    throw reused(existing.computeId);
  }
}

async function newRecord(
  context: DriverContext,
  computeId: string,
  spec: ComputeSpec,
): Promise<ComputeRecord> {
  const image = await context.images.machineImage(spec.image);
  const memoryMib = spec.memoryMib || image.memoryMib;
  if (memoryMib < memoryMibMin) {
    const text = `spec.memory_mib: ${memoryMib} is less than ${memoryMibMin}`;
    throw invalidArgument('FIELD_VIOLATION', text, { memory_mib: String(memoryMib) });
  }
  const commandLine = [image.kernel?.commandLine, ...guestWords(spec)].join(' ');
  return {
    computeId,
    spec: toJson(ComputeSpecSchema, spec),
    memoryMib,
    virtualCpus: spec.virtualCpus || 1,
    ...(image.kernel ? { kernel: { ...image.kernel, commandLine } } : {}),
    vnfChannel: image.vnfChannel,
    attachments: attachmentsOf(context, computeId, spec),
    interfaces: interfacesOf(context, computeId, spec),
    createTimeMs: Date.now(),
    wanted: 'STOPPED',
    lastRun: 0,
    generationId: `0-${computeId}`,
    frozen: false,
    calls: [],
  };
}

/** What the guest is told on its kernel's command line. */
function guestWords(spec: ComputeSpec): string[] {
  const words = Object.entries(spec.guestParameters).map(([key, value]) => {
    if (!parameterPattern.test(key) || !valuePattern.test(value)) {
      const text = `spec.guest_parameters["${key}"]: want keys of [a-z0-9_.] and values without blanks`;
      throw invalidArgument('FIELD_VIOLATION', text, { key });
    }
    return `micromano.${key}=${value}`;
  });
  spec.interfaces.forEach(({ ipAddress }, index) => {
    if (ipAddress === '') return;
    if (!addressPattern.test(ipAddress)) {
      const text = `spec.interfaces[${index}].ip_address: "${ipAddress}" is not an address and prefix length`;
      throw invalidArgument('FIELD_VIOLATION', text, { ip_address: ipAddress });
    }
    words.push(`micromano.eth${index}=${ipAddress}`);
  });
  return words;
}

/** The disks in their order, the one that boots first. Each volume must exist and be free. */
function attachmentsOf(context: DriverContext, computeId: string, spec: ComputeSpec) {
  if (spec.volumes.length > disksMax) {
    throw resourceExhausted('TOO_MANY_VOLUMES', `at most ${disksMax} volumes`, {});
  }
  const names = new Set(spec.volumes.map(({ name }) => name));
  const ids = new Set(spec.volumes.map(({ volumeId }) => volumeId));
  if (names.size < spec.volumes.length || ids.size < spec.volumes.length) {
    throw invalidArgument('FIELD_VIOLATION', 'spec.volumes: a name or a volume is there twice');
  }
  for (const { volumeId } of spec.volumes) {
    if (!context.store.get('volume', volumeId)) throw unknownVolume(volumeId);
    const owner = ownerOf(context, volumeId);
    if (!owner || owner.computeId === computeId) continue;
    const text = `volume ${volumeId} is attached to ${owner.computeId}`;
    throw failedPrecondition('VOLUME_ATTACHED', text, { volume_id: volumeId });
  }
  return [...spec.volumes]
    .sort((one, other) => Number(other.boot) - Number(one.boot))
    .map(({ volumeId, name }) => ({ volumeId, name }));
}

function interfacesOf(context: DriverContext, computeId: string, spec: ComputeSpec) {
  if (spec.interfaces.length > interfacesMax) {
    throw resourceExhausted('TOO_MANY_INTERFACES', `at most ${interfacesMax} interfaces`, {});
  }
  const taken: { networkId: string; slot: number }[] = context.store
    .list('compute')
    .flatMap(({ interfaces }) => interfaces);
  return spec.interfaces.map(({ networkId, macAddress }, index) => {
    if (!context.store.get('network', networkId)) throw unknownNetwork(networkId);
    const used = taken.filter((port) => port.networkId === networkId).map(({ slot }) => slot);
    const slot = [...Array(portsPerNetwork).keys()].find((candidate) => !used.includes(candidate));
    if (slot === undefined) {
      const text = `network ${networkId} joins ${portsPerNetwork} interfaces already`;
      throw resourceExhausted('NETWORK_FULL', text, { network_id: networkId });
    }
    if (macAddress !== '' && !macPattern.test(macAddress)) {
      const text = `spec.interfaces[${index}].mac_address: "${macAddress}" is not a MAC address`;
      throw invalidArgument('FIELD_VIOLATION', text, { mac_address: macAddress });
    }
    taken.push({ networkId, slot });
    return { networkId, slot, mac: macAddress || stableMac(computeId, index) };
  });
}

/** In QEMU's own range, the same for the same interface at each start. */
function stableMac(computeId: string, index: number): string {
  const digest = createHash('sha256').update(`${computeId}/${index}`).digest('hex');
  return `52:54:00:${digest.slice(0, 2)}:${digest.slice(2, 4)}:${digest.slice(4, 6)}`;
}

async function stoppedSpec(context: DriverContext, computeId: string) {
  const { state } = await observe(context, computeId);
  if (state !== 'STOPPED' && state !== 'FAILED') {
    throw wrongState(computeId, state, 'STOPPED (this driver attaches and detaches no disk live)');
  }
  const compute = context.compute(computeId);
  return { compute, spec: create(ComputeSpecSchema, fromJson(ComputeSpecSchema, compute.spec)) };
}

function replaceVolumes(context: DriverContext, compute: ComputeRecord, spec: ComputeSpec): void {
  context.update(compute.computeId, {
    attachments: attachmentsOf(context, compute.computeId, spec),
    spec: toJson(ComputeSpecSchema, spec),
  });
  context.changed(compute.computeId);
}

/**
 * All compute resources at once, then each that changes; a slow reader gets the newest state, never
 * a long queue.
 */
async function* watchComputes(context: DriverContext, signal: AbortSignal) {
  const pending = new Map<string, 'change' | 'deleted'>();
  let wake = () => {};
  const note = (kind: 'change' | 'deleted') => (computeId: string) => {
    // The end of its process may be heard of after the deletion, which is the last word.
    if (kind === 'change' && !context.store.get('compute', computeId)) return;
    if (pending.size < watchQueueMax || pending.has(computeId)) pending.set(computeId, kind);
    wake();
  };
  const onChange = note('change');
  const onDeleted = note('deleted');
  const onAbort = () => wake();
  context.changes.on('change', onChange).on('deleted', onDeleted);
  signal.addEventListener('abort', onAbort);
  for (const { computeId } of context.store.list('compute')) pending.set(computeId, 'change');
  try {
    while (!signal.aborted) {
      for (const [computeId, kind] of [...pending]) {
        pending.delete(computeId);
        if (kind === 'deleted') yield { compute: { computeId }, deleted: true };
        else {
          const compute = await presentMessage(context, computeId);
          if (compute) yield { compute, deleted: false };
        }
      }
      if (pending.size > 0) continue;
      await new Promise<void>((resolve) => {
        wake = resolve;
        if (signal.aborted) resolve();
      });
    }
  } finally {
    context.changes.off('change', onChange).off('deleted', onDeleted);
    signal.removeEventListener('abort', onAbort);
  }
}

/** The compute resource, or nothing when it was deleted while it was asked. */
async function presentMessage(context: DriverContext, computeId: string) {
  try {
    return await computeMessage(context, computeId);
  } catch (error) {
    if (context.store.get('compute', computeId)) throw error;
    return undefined;
  }
}

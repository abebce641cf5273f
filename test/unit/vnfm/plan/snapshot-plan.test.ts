import { create, type MessageInitShape } from '@bufbuild/protobuf';
import test from 'ava';
import { Code } from '../../../../gen/google/rpc/code_pb.js';
import { CapabilityName } from '../../../../gen/nfv/driver/v1/driver_pb.js';
import {
  ComputeState,
  DiskTechnique,
  MemoryTechnique,
} from '../../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import {
  ConsistencyPolicy,
  Permission,
  PowerOff,
  SnapshotType,
  VnfcSnapshotDescriptorSchema,
} from '../../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import type { DriverView } from '../../../../plugins/vnfm/plan/capabilities.ts';
import { planSnapshot, type SnapshotWishes } from '../../../../plugins/vnfm/plan/snapshot-plan.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';
import {
  component,
  disk,
  driverWithout,
  situation,
  vnfdOf,
} from '../../../support/vnfm/descriptors.ts';

const nothing: SnapshotWishes = {
  type: SnapshotType.UNSPECIFIED,
  consistency: ConsistencyPolicy.UNSPECIFIED,
  vnfcInstanceIds: [],
};
const typed = (vduId: string, type: SnapshotType, includedStorageIds: string[] = []) =>
  create(VnfcSnapshotDescriptorSchema, { vduId, type, includedStorageIds });

test('planSnapshot: without any wish all components are captured warm, frozen and together', (t) => {
  const plan = planSnapshot(situation(), nothing);
  t.is(plan.consistency, 'required');
  t.deepEqual(
    plan.vnfcs.map(({ vnfcInstanceId, memory, freeze, disks }) => [
      vnfcInstanceId,
      memory,
      freeze,
      disks.length,
    ]),
    [
      ['gateway-0', true, true, 1],
      ['database-0', true, true, 1],
    ],
  );
  t.deepEqual([plan.excluded, plan.ordered, plan.holdDeadlineMs], [[], false, 30_000]);
});

test('planSnapshot: the type of the request counts where the descriptor leaves it open [Vnfsd.005 Vnfm.001 5.2.2/3]', (t) => {
  const vnfd = vnfdOf(undefined, { vnfc: [typed('database', SnapshotType.WARM)] });
  const plan = planSnapshot(situation(vnfd), { ...nothing, type: SnapshotType.COLD });
  t.deepEqual(
    plan.vnfcs.map(({ memory }) => memory),
    [false, true],
  );
});

test('planSnapshot: a type that no component is open for is refused', async (t) => {
  const vnfd = vnfdOf(undefined, {
    vnfc: [typed('database', SnapshotType.WARM), typed('gateway', SnapshotType.WARM)],
  });
  await throwsRpc(
    t,
    async () => planSnapshot(situation(vnfd), { ...nothing, type: SnapshotType.COLD }),
    { code: Code.INVALID_ARGUMENT, reason: 'DESCRIPTOR_CONTRADICTION' },
  );
});

test('planSnapshot: a consistency that contradicts the descriptor is refused [Vnfsd.008]', async (t) => {
  const vnfd = vnfdOf(undefined, { consistency: ConsistencyPolicy.REQUIRED });
  await throwsRpc(
    t,
    async () => planSnapshot(situation(vnfd), { ...nothing, consistency: ConsistencyPolicy.NONE }),
    { code: Code.INVALID_ARGUMENT, reason: 'DESCRIPTOR_CONTRADICTION' },
  );
});

test('planSnapshot: a descriptor that forbids snapshots is obeyed [Vnfsd.001]', async (t) => {
  const vnfd = vnfdOf(undefined, { create: Permission.FORBIDDEN });
  await throwsRpc(t, async () => planSnapshot(situation(vnfd), nothing), {
    code: Code.FAILED_PRECONDITION,
    reason: 'SNAPSHOT_FORBIDDEN',
  });
});

test('planSnapshot: what is left out is named with its reason [Vnfsd.003 Vnfsd.016 Vnfm.002 5.2.2/4 6.3/vnfm-resolve]', (t) => {
  const vnfd = vnfdOf((it) => {
    const data = it.virtualStorageDesc[0]!;
    it.virtualStorageDesc.push(
      { ...data, id: 'scratch', independent: true },
      { ...data, id: 'logs' },
    );
    it.snapshotDescriptor!.vnfc = [typed('gateway', SnapshotType.WARM, ['data'])];
  });
  const disks = ['data', 'scratch', 'logs'].map((name) => disk(`x.${name}`, name));
  const components = [component('gateway', { disks }), component('database')];
  const plan = planSnapshot(situation(vnfd, components), {
    ...nothing,
    vnfcInstanceIds: ['gateway-0'],
  });
  t.deepEqual(plan.excluded, [
    'database-0: the request does not include it',
    'gateway-0/scratch: independent',
    'gateway-0/logs: the descriptor does not include it',
  ]);
  t.deepEqual(plan.vnfcs[0]?.disks, [disk('x.data', 'data')]);
});

test('planSnapshot: a component that the VNF does not have is refused with those it has', async (t) => {
  const error = await throwsRpc(
    t,
    async () => planSnapshot(situation(), { ...nothing, vnfcInstanceIds: ['gateway-1'] }),
    { code: Code.INVALID_ARGUMENT, reason: 'VNFC_UNKNOWN' },
  );
  t.is(error.metadata.known, 'gateway-0, database-0');
});

test('planSnapshot: a component that the descriptor leaves out cannot be asked for', async (t) => {
  const vnfd = vnfdOf(undefined, { includedVduIds: ['gateway'] });
  await throwsRpc(
    t,
    async () => planSnapshot(situation(vnfd), { ...nothing, vnfcInstanceIds: ['database-0'] }),
    { code: Code.INVALID_ARGUMENT, reason: 'DESCRIPTOR_CONTRADICTION' },
  );
});

test('planSnapshot: memory that cannot be captured now refuses a warm snapshot, with the reason [5.3-2/utilize]', async (t) => {
  const driver = driverWithout(CapabilityName.MEMORY_EXTERNAL);
  const components = [component('gateway', { driver }), component('database')];
  const error = await throwsRpc(
    t,
    async () => planSnapshot(situation(vnfdOf(), components), nothing),
    { code: Code.UNIMPLEMENTED, reason: 'CAPABILITY_MISSING' },
  );
  t.regex(error.message, /gateway-0: a warm snapshot needs MEMORY_EXTERNAL .* the test says so/);
  const cold = planSnapshot(situation(vnfdOf(), components), {
    ...nothing,
    type: SnapshotType.COLD,
  });
  t.deepEqual(
    cold.vnfcs.map(({ memory }) => memory),
    [false, false],
  );
});

test('planSnapshot: a driver that cannot pause refuses consistency but not a snapshot without', async (t) => {
  const driver = driverWithout(CapabilityName.PAUSE);
  const components = [component('gateway', { driver }), component('database')];
  await throwsRpc(t, async () => planSnapshot(situation(vnfdOf(), components), nothing), {
    code: Code.UNIMPLEMENTED,
    reason: 'CAPABILITY_MISSING',
  });
  const wishes = { ...nothing, consistency: ConsistencyPolicy.NONE };
  const plan = planSnapshot(situation(vnfdOf(), components), wishes);
  t.true(plan.vnfcs.every((vnfc) => !vnfc.freeze));
});

test('planSnapshot: a driver without an agent freezes nothing and says why', (t) => {
  const driver = driverWithout(CapabilityName.QUIESCE);
  const components = [component('gateway', { driver }), component('database')];
  const [gateway] = planSnapshot(situation(vnfdOf(), components), nothing).vnfcs;
  t.false(gateway?.freeze);
  t.is(gateway?.noFreezeReason, 'file systems cannot be frozen: the test says so');
});

test('planSnapshot: a component that does not run is captured cold, and that is recorded', (t) => {
  const components = [component('gateway', { state: ComputeState.STOPPED }), component('database')];
  const plan = planSnapshot(situation(vnfdOf(), components), nothing);
  t.deepEqual(
    plan.vnfcs.map(({ memory, running, freeze }) => [memory, running, freeze]),
    [
      [false, false, false],
      [true, true, true],
    ],
  );
  t.deepEqual(plan.excluded, ['gateway-0/memory: the component is not running']);
});

test('planSnapshot: a component that is held after a reversion has to run first', async (t) => {
  const components = [component('gateway', { held: true }), component('database')];
  await throwsRpc(t, async () => planSnapshot(situation(vnfdOf(), components), nothing), {
    code: Code.FAILED_PRECONDITION,
    reason: 'COMPONENT_HELD',
  });
});

test('planSnapshot: an order puts the components named first, in that order [Vnfsd.017]', (t) => {
  const vnfd = vnfdOf(undefined, { createOrder: ['database'] });
  const plan = planSnapshot(situation(vnfd), nothing);
  t.true(plan.ordered);
  t.deepEqual(
    plan.vnfcs.map(({ vduId }) => vduId),
    ['database', 'gateway'],
  );
});

test('planSnapshot: outside of its windows the descriptor is obeyed, and the next one is named [Vnfsd.004]', async (t) => {
  const windows = [{ startTime: '22:00', endTime: '06:00', timeZone: 'Europe/Berlin' }];
  const vnfd = vnfdOf(undefined, { windows });
  const at = (now: string) => planSnapshot(situation(vnfd, undefined, new Date(now)), nothing);
  t.is(at('2026-03-02T21:00:00Z').vnfcs.length, 2);
  const error = await throwsRpc(t, async () => at('2026-03-02T12:00:00Z'), {
    code: Code.FAILED_PRECONDITION,
    reason: 'SNAPSHOT_WINDOW_CLOSED',
  });
  t.is(error.metadata.next, '2026-03-02T21:00:00.000Z');
});

const powered = (vduId: string, powerOff: PowerOff, powerOnAfter = false) =>
  vnfdOf(undefined, {
    vnfc: [create(VnfcSnapshotDescriptorSchema, { vduId, powerOff, powerOnAfter })],
  });

test('planSnapshot: what is powered off before is captured cold, not held, and booted when it shall be [Vnfsd.009 Vnfsd.010]', (t) => {
  for (const startAfter of [false, true]) {
    const plan = planSnapshot(situation(powered('database', PowerOff.BEFORE, startAfter)), nothing);
    const [gateway, database] = plan.vnfcs;
    t.like(gateway, { running: true, memory: true, stopBefore: false, startAfter: false });
    t.like(database, {
      running: false,
      memory: false,
      freeze: false,
      stopBefore: true,
      startAfter,
    });
    t.is(database?.noFreezeReason, 'the component is powered off before');
  }
});

test('planSnapshot: what is powered off after is captured as it runs [Vnfsd.009]', (t) => {
  const plan = planSnapshot(situation(powered('database', PowerOff.AFTER)), nothing);
  t.like(plan.vnfcs[1], { running: true, memory: true, stopAfter: true, stopBefore: false });
});

test('planSnapshot: what does not run is not stopped, but booted when it shall be [Vnfsd.009 Vnfsd.010]', (t) => {
  const components = [component('gateway'), component('database', { state: ComputeState.STOPPED })];
  const planned = (vnfd: ReturnType<typeof vnfdOf>) =>
    planSnapshot(situation(vnfd, components), nothing).vnfcs[1];
  const off = { stopBefore: false, stopAfter: false };
  t.like(planned(powered('database', PowerOff.BEFORE)), { ...off, startAfter: false });
  t.like(planned(powered('database', PowerOff.NO, true)), { ...off, startAfter: true });
});

const detaching = (init: MessageInitShape<typeof VnfcSnapshotDescriptorSchema>) =>
  vnfdOf(undefined, {
    vnfc: [create(VnfcSnapshotDescriptorSchema, { ...init, vduId: 'database' })],
  });
const names = (disks: readonly { name: string }[] = []) => disks.map(({ name }) => name);

test('planSnapshot: disks are detached before and attached after as the descriptor says [Vnfsd.011 Vnfsd.012]', (t) => {
  const off = { powerOff: PowerOff.BEFORE };
  for (const [init, detach, attach] of [
    [{ ...off, detachBefore: true, attachAfter: true }, ['data', 'logs'], ['data', 'logs', 'old']],
    [{ ...off, detachBefore: true }, ['data', 'logs'], []],
    [{ ...off, attachAfter: true }, [], ['old']],
    [off, [], []],
  ] as const) {
    const disks = [
      disk('x.data', 'data', { boot: true }),
      disk('x.logs', 'logs', { position: 1 }),
      disk('x.old', 'old', { position: 2, attached: false }),
    ];
    const components = [component('gateway'), component('database', { disks })];
    const planned = planSnapshot(situation(detaching(init), components), nothing).vnfcs[1];
    t.deepEqual(names(planned?.disks), ['data', 'logs', 'old'], 'all are captured');
    t.deepEqual([names(planned?.detach), names(planned?.attach)], [[...detach], [...attach]]);
    t.false(planned?.memory);
  }
});

test('planSnapshot: disks of a running guest are detached only by a driver that can, and never the one it runs from', async (t) => {
  const vnfd = detaching({ detachBefore: true, attachAfter: true });
  const components = (driver: DriverView, boot: boolean) => [
    component('gateway'),
    component('database', { driver, disks: [disk('x.data', 'data', { boot })] }),
  ];
  const able = driverWithout();
  const unable = driverWithout(CapabilityName.HOT_PLUG);
  const refused = async () => planSnapshot(situation(vnfd, components(unable, false)), nothing);
  const missing = await throwsRpc(t, refused, {
    code: Code.UNIMPLEMENTED,
    reason: 'CAPABILITY_MISSING',
  });
  t.regex(missing.message, /HOT_PLUG/);
  const booted = async () => planSnapshot(situation(vnfd, components(able, true)), nothing);
  const contradiction = await throwsRpc(t, booted, {
    code: Code.INVALID_ARGUMENT,
    reason: 'DESCRIPTOR_CONTRADICTION',
  });
  t.regex(contradiction.message, /runs from disk "data"/);
  const planned = planSnapshot(situation(vnfd, components(able, false)), nothing).vnfcs[1];
  t.like(planned, { running: true, memory: false });
  t.deepEqual(names(planned?.detach), ['data']);
});

test('planSnapshot: a warm snapshot of what is powered off before is refused as a contradiction [Vnfsd.009]', async (t) => {
  const wishes = { ...nothing, type: SnapshotType.WARM, vnfcInstanceIds: ['database-0'] };
  const vnfd = powered('database', PowerOff.BEFORE);
  await throwsRpc(t, async () => planSnapshot(situation(vnfd), wishes), {
    code: Code.INVALID_ARGUMENT,
    reason: 'DESCRIPTOR_CONTRADICTION',
  });
});

const technical = (memoryTechnique: MemoryTechnique, diskTechnique: DiskTechnique) =>
  vnfdOf(undefined, { vnfc: [{ vduId: 'gateway', memoryTechnique, diskTechnique }] });

test('planSnapshot: the techniques of the descriptor are those of the plan [Vnfsd.006 Vnfsd.007]', (t) => {
  const vnfd = technical(MemoryTechnique.EXTERNAL, DiskTechnique.EXTERNAL_INCREMENTAL);
  const [gateway, database] = planSnapshot(situation(vnfd), nothing).vnfcs;
  t.like(gateway, {
    memoryTechnique: MemoryTechnique.EXTERNAL,
    diskTechnique: DiskTechnique.EXTERNAL_INCREMENTAL,
  });
  t.like(database, { memoryTechnique: 0, diskTechnique: 0 });
});

test('planSnapshot: a technique that the driver has not is refused, not replaced [Vnfsd.006 Vnfsd.007]', async (t) => {
  const driver = driverWithout(CapabilityName.DISK_INTERNAL, CapabilityName.MEMORY_INTERNAL);
  const components = [component('gateway', { driver }), component('database')];
  for (const vnfd of [
    technical(MemoryTechnique.INTERNAL, DiskTechnique.UNSPECIFIED),
    technical(MemoryTechnique.UNSPECIFIED, DiskTechnique.INTERNAL_SEQUENTIAL),
  ]) {
    await throwsRpc(t, async () => planSnapshot(situation(vnfd, components), nothing), {
      ...{ code: Code.UNIMPLEMENTED, reason: 'CAPABILITY_MISSING' },
    });
  }
});

test('planSnapshot: internal memory without a disk contradicts itself [Vnfsd.006]', async (t) => {
  const vnfd = technical(MemoryTechnique.INTERNAL, DiskTechnique.UNSPECIFIED);
  vnfd.virtualStorageDesc[0]!.independent = true;
  await throwsRpc(t, async () => planSnapshot(situation(vnfd), nothing), {
    ...{ code: Code.INVALID_ARGUMENT, reason: 'DESCRIPTOR_CONTRADICTION' },
  });
});

test('planSnapshot: memory that must not be captured is left out with its reason, or refused [Vnfsd.005]', async (t) => {
  const restrictions = [{ reason: 'subscriber keys', vduIds: ['gateway'], noMemory: true }];
  const vnfd = vnfdOf(undefined, { restrictions });
  const plan = planSnapshot(situation(vnfd), nothing);
  t.deepEqual(
    plan.vnfcs.map(({ vduId, memory, running }) => [vduId, memory, running]),
    [
      ['gateway', false, true],
      ['database', true, true],
    ],
  );
  t.deepEqual(plan.excluded, ['gateway-0/memory: subscriber keys']);
  const all = vnfdOf(undefined, { restrictions: [{ reason: 'law', noMemory: true }] });
  const warm = { ...nothing, type: SnapshotType.WARM };
  await throwsRpc(t, async () => planSnapshot(situation(all), warm), {
    ...{ code: Code.INVALID_ARGUMENT, reason: 'DESCRIPTOR_CONTRADICTION' },
  });
});

test('planSnapshot: what the VNF keeps outside is named among what is left out', (t) => {
  const externalData = [{ name: 'billing', description: 'restore it to the same hour' }];
  const { excluded } = planSnapshot(situation(vnfdOf(undefined, { externalData })), nothing);
  t.deepEqual(excluded, ['billing: kept outside the VNF: restore it to the same hour']);
});

import { create } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import test from 'ava';
import { Code } from '../../../../gen/google/rpc/code_pb.js';
import {
  DayOfWeek,
  PowerOff,
  SnapshotType,
  SnapshotWindowSchema,
  VnfcSnapshotDescriptorSchema,
  type Vnfd,
} from '../../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { checkVnfd, vnfdViolations } from '../../../../plugins/vnfm/vnfd/validate.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';
import { vnfdOf } from '../../../support/vnfm/descriptors.ts';

test('VNFD: a sound descriptor has no violations', (t) => {
  t.deepEqual(vnfdViolations(vnfdOf()), []);
});

const fault = test.macro({
  title: (_given, what: string) => `VNFD: ${what}`,
  exec: (t, _what: string, change: (vnfd: Vnfd) => void, field: string, description: RegExp) => {
    const violations = vnfdViolations(vnfdOf(change));
    t.deepEqual(
      violations.map((violation) => violation.field),
      [field],
    );
    t.regex(violations[0]?.description ?? '', description);
  },
});

const snapshot = (vnfd: Vnfd) => vnfd.snapshotDescriptor!;
const perVdu = (vduId: string, includedStorageIds: string[]) =>
  create(VnfcSnapshotDescriptorSchema, { vduId, includedStorageIds });

test(
  fault,
  'a storage that is nowhere described is named with its place in the VDU',
  (vnfd) => {
    vnfd.vdu[1]!.virtualStorageDesc[0] = 'dta';
  },
  'vdu[1].virtualStorageDesc[0]',
  /"dta" is no virtualStorageDesc; there are: data/,
);
test(
  fault,
  'a compute description that is nowhere described is named',
  (vnfd) => {
    vnfd.vdu[0]!.virtualComputeDesc = 'large';
  },
  'vdu[0].virtualComputeDesc',
  /"large" is no virtualComputeDesc/,
);
test(
  fault,
  'a virtual link that is nowhere described is named',
  (vnfd) => {
    vnfd.vdu[0]!.intCpd[0]!.intVirtualLinkDesc = 'outside';
  },
  'vdu[0].intCpd[0].intVirtualLinkDesc',
  /"outside" is no intVirtualLinkDesc/,
);
test(
  fault,
  'two VDUs of one name are refused',
  (vnfd) => {
    vnfd.vdu[1]!.vduId = 'gateway';
  },
  'vdu[1].vduId',
  /"gateway" is given at vdu\[0\]\.vduId already/,
);
test(
  fault,
  'a volume needs a size or an image',
  (vnfd) => {
    vnfd.virtualStorageDesc[0]!.sizeOfStorageMib = 0n;
  },
  'virtualStorageDesc[0].sizeOfStorageMib',
  /above 0/,
);
test(
  fault,
  'a guest parameter is named that no guest can read',
  (vnfd) => {
    vnfd.vdu[0]!.guestParameters.Röle = 'x';
  },
  'vdu[0].guestParameters["Röle"]',
  /a-z/,
);
test(
  fault,
  'an address that is none is refused',
  (vnfd) => {
    vnfd.vdu[0]!.intCpd[0]!.ipAddress = '10.10.0.300/24';
  },
  'vdu[0].intCpd[0].ipAddress',
  /no IPv4 address/,
);
test(
  fault,
  'an address that is taken on the same link is refused',
  (vnfd) => {
    for (const vdu of vnfd.vdu) vdu.intCpd[0]!.ipAddress = '10.10.0.2/24';
  },
  'vdu[1].intCpd[0].ipAddress',
  /given on the same link/,
);
test(
  fault,
  'a snapshot descriptor for a VDU that is not there is refused',
  (vnfd) => {
    snapshot(vnfd).vnfc = [perVdu('billing', [])];
  },
  'snapshotDescriptor.vnfc[0].vduId',
  /"billing" is no VDU/,
);
test(
  fault,
  'a snapshot descriptor for a VDU that has no snapshot contradicts itself',
  (vnfd) => {
    snapshot(vnfd).includedVduIds = ['gateway'];
    snapshot(vnfd).vnfc = [perVdu('database', [])];
  },
  'snapshotDescriptor.vnfc[0].vduId',
  /not in snapshotDescriptor\.includedVduIds/,
);
test(
  fault,
  'a disk of another VDU cannot be included',
  (vnfd) => {
    snapshot(vnfd).vnfc = [perVdu('gateway', ['logs'])];
  },
  'snapshotDescriptor.vnfc[0].includedStorageIds[0]',
  /no storage of VDU "gateway"/,
);
test(
  fault,
  'an independent disk cannot be included',
  (vnfd) => {
    vnfd.virtualStorageDesc[0]!.independent = true;
    snapshot(vnfd).vnfc = [perVdu('gateway', ['data'])];
  },
  'snapshotDescriptor.vnfc[0].includedStorageIds[0]',
  /independent/,
);
test(
  fault,
  'an order names VDUs that are there',
  (vnfd) => {
    snapshot(vnfd).revertOrder = ['database', 'gatway'];
  },
  'snapshotDescriptor.revertOrder[1]',
  /"gatway" is no VDU/,
);
test(
  fault,
  'a hold of more than nine minutes is refused',
  (vnfd) => {
    snapshot(vnfd).holdDeadline = durationFromMs(600_000);
  },
  'snapshotDescriptor.holdDeadline',
  /at most 540s, not 600s/,
);
test(
  fault,
  'a number that is no consistency policy is refused',
  (vnfd) => {
    snapshot(vnfd).consistency = 9 as never;
  },
  'snapshotDescriptor.consistency',
  /9 means nothing/,
);

const window = (init: { endTime?: string; timeZone?: string; days?: DayOfWeek[] }) =>
  create(SnapshotWindowSchema, { startTime: '22:00', endTime: '06:00', ...init });
test(
  fault,
  'a window in a time zone that nobody knows is refused',
  (vnfd) => {
    snapshot(vnfd).windows = [window({}), window({ timeZone: 'Mars/Olympus' })];
  },
  'snapshotDescriptor.windows[1].timeZone',
  /"Mars\/Olympus" is no time zone/,
);
test(
  fault,
  'a window that ends when it begins is refused',
  (vnfd) => {
    snapshot(vnfd).windows = [window({ endTime: '22:00' })];
  },
  'snapshotDescriptor.windows[0].endTime',
  /begins and ends at 22:00/,
);
test(
  fault,
  'a window on no day is refused',
  (vnfd) => {
    snapshot(vnfd).windows = [window({ days: [DayOfWeek.UNSPECIFIED] })];
  },
  'snapshotDescriptor.windows[0].days[0]',
  /0 is no day/,
);
const powered = (init: { powerOff: PowerOff; type?: SnapshotType; powerOnAfter?: boolean }) =>
  create(VnfcSnapshotDescriptorSchema, { vduId: 'gateway', ...init });
test(
  fault,
  'warm and powered off before contradict each other',
  (vnfd) => {
    snapshot(vnfd).vnfc = [powered({ powerOff: PowerOff.BEFORE, type: SnapshotType.WARM })];
  },
  'snapshotDescriptor.vnfc[0].powerOff',
  /no memory for a WARM snapshot/,
);
test(
  fault,
  'powered off after and powered on after contradict each other',
  (vnfd) => {
    snapshot(vnfd).vnfc = [powered({ powerOff: PowerOff.AFTER, powerOnAfter: true })];
  },
  'snapshotDescriptor.vnfc[0].powerOff',
  /contradicts powerOnAfter/,
);

test(
  fault,
  'warm and detached before contradict each other',
  (vnfd) => {
    const vnfc = { vduId: 'gateway', type: SnapshotType.WARM, detachBefore: true };
    snapshot(vnfd).vnfc = [create(VnfcSnapshotDescriptorSchema, vnfc)];
  },
  'snapshotDescriptor.vnfc[0].detachBefore',
  /memory fits the disks/,
);

test('VNFD: a disk cannot have the name of the memory image', (t) => {
  const vnfd = vnfdOf((it) => {
    it.virtualStorageDesc[0]!.id = 'memory';
    for (const vdu of it.vdu) vdu.virtualStorageDesc = ['memory'];
  });
  t.deepEqual(
    vnfdViolations(vnfd).map((violation) => violation.field),
    ['virtualStorageDesc[0].id'],
  );
});

test('VNFD: one virtual link cannot join two technologies', (t) => {
  const vnfd = vnfdOf((it) => {
    const small = it.virtualComputeDesc[0]!;
    it.virtualComputeDesc.push({
      ...small,
      virtualComputeDescId: 'kvm',
      virtualisationEnvironment: 'qemu',
    });
    it.vdu[1]!.virtualComputeDesc = 'kvm';
  });
  t.deepEqual(
    vnfdViolations(vnfd).map((violation) => violation.field),
    ['vdu[1].intCpd[0].intVirtualLinkDesc'],
  );
});

test('VNFD: every fault is told at once, each with its path', async (t) => {
  const vnfd = vnfdOf((it) => {
    it.vdu[0]!.virtualComputeDesc = 'large';
    it.vdu[1]!.virtualStorageDesc = ['data', 'data'];
  });
  const error = await throwsRpc(t, async () => checkVnfd(vnfd), {
    code: Code.INVALID_ARGUMENT,
    reason: 'VNFD_INVALID',
  });
  t.deepEqual(
    error.violations.map((violation) => violation.field),
    ['vdu[0].virtualComputeDesc', 'vdu[1].virtualStorageDesc[1]'],
  );
});

import { create } from '@bufbuild/protobuf';
import test from 'ava';
import { ImageFormat, ImageRole } from '../../../gen/nfv/common/v1/common_pb.js';
import {
  type InstanceSnapshot,
  InstanceSnapshotSchema,
} from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { VnfSnapshotSchema } from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { captureReport, withoutPlaces } from '../../../plugins/vnfm/capture-report.ts';

const told = create(InstanceSnapshotSchema, {
  ...{ snapshotId: 's.gateway-0', driver: 'qemu', imported: true },
  images: [
    { name: 'data', role: ImageRole.DISK, file: { path: '/d/1', format: ImageFormat.QCOW2 } },
  ],
});
const snapshot = create(VnfSnapshotSchema, {
  vnfcSnapshots: [
    {
      vnfcInstanceId: 'gateway-0',
      vimConnectionId: 'vim-a',
      instanceSnapshot: withoutPlaces(told),
    },
  ],
});
const having = (...found: InstanceSnapshot[]) =>
  new Map([['vim-a', new Map(found.map((item) => [item.snapshotId, item]))]]);

test('captureReport: the VIM, the resource and the files as the VIM tells of them [capture/7]', (t) => {
  const [part] = captureReport(snapshot, having(told), 'direct').vnfcs;
  t.like(part, { vnfcInstanceId: 'gateway-0', driver: 'qemu', imported: true, unknownReason: '' });
  t.like(part?.snapshotResource, { vimConnectionId: 'vim-a', resourceId: 's.gateway-0' });
  t.is(part?.images[0]?.file?.path, '/d/1');
});

test('captureReport: in indirect mode the VIM is the one that the NFVO passes calls on to', (t) => {
  const [part] = captureReport(snapshot, having(told), 'indirect').vnfcs;
  t.like(part?.snapshotResource, { vimConnectionId: '', resourceProviderId: 'vim-a' });
});

test('captureReport: of what the VIM has lost or does not tell of it names no files, and says why', (t) => {
  for (const [present, reason] of [
    [having(), /does not have it any more/],
    [new Map(), /cannot be asked/],
  ] as const) {
    const [part] = captureReport(snapshot, present, 'direct').vnfcs;
    t.regex(part?.unknownReason ?? '', reason);
    t.deepEqual(
      part?.images.map(({ name, file }) => [name, file]),
      [['data', undefined]],
    );
  }
});

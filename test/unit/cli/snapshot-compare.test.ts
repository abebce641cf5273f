import { create } from '@bufbuild/protobuf';
import test from 'ava';
import { differences, driftOf } from '../../../cli/snapshot-compare.ts';
import { ImageRole } from '../../../gen/nfv/common/v1/common_pb.js';
import { ComputeState } from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { VnfSnapshotSchema } from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { vnfdOf } from '../../support/vnfm/descriptors.ts';

test('differences: leaves that differ, appear and go, each with its path', (t) => {
  const one = { a: { b: 1, gone: 'x' }, same: [1, { c: true }] };
  const other = { a: { b: 2, come: 'y' }, same: [1, { c: true }] };
  t.deepEqual(differences(one, other), [
    { path: 'a/b', one: '1', other: '2' },
    { path: 'a/gone', one: 'x', other: '' },
    { path: 'a/come', one: '', other: 'y' },
  ]);
});

test('driftOf: memory, processors, disks and their sizes, state and parameters are compared with the VNFD', (t) => {
  const vnfd = vnfdOf((it) => {
    it.virtualComputeDesc[0]!.virtualCpu = 2;
    it.virtualComputeDesc[0]!.virtualMemoryMib = 64;
    it.vdu[0]!.guestParameters = { role: 'gateway' };
  });
  const spec = {
    image: 'gateway.wasm',
    ...{ virtualCpus: 1, memoryMib: 128, guestParameters: { role: 'other' } },
    volumes: [
      { volumeId: 'v', name: 'data' },
      { volumeId: 'w', name: 'extra' },
    ],
  };
  const images = [{ name: 'data', role: ImageRole.DISK, sizeBytes: 2_097_152n }];
  const instanceSnapshot = { spec, images, stateWhenTaken: ComputeState.PAUSED };
  const part = { vnfcInstanceId: 'gateway-0', vduId: 'gateway', instanceSnapshot };
  const snapshot = create(VnfSnapshotSchema, { vnfd, vnfcSnapshots: [part] });
  t.deepEqual(
    driftOf(snapshot).map(({ path, one, other }) => [path, one, other]),
    [
      ['gateway-0/virtualCpus', '2', '1'],
      ['gateway-0/memoryMib', '64', '128'],
      ['gateway-0/state', 'RUNNING', 'PAUSED'],
      ['gateway-0/volumes/extra', '', 'attached'],
      ['gateway-0/volumeBytes/data', '1048576', '2097152'],
      ['gateway-0/guestParameters/role', 'gateway', 'other'],
    ],
  );
});

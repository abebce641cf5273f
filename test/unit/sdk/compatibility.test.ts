import { create } from '@bufbuild/protobuf';
import test from 'ava';
import {
  type CompatibilityStamp,
  CompatibilityStampSchema,
} from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { stampMismatch } from '../../../sdk/compatibility.ts';

const stamp = (changes: Partial<CompatibilityStamp> = {}) =>
  create(CompatibilityStampSchema, {
    ...{ hypervisor: 'qemu', hypervisorVersion: '7.2.22', machineType: 'pc-q35-7.2' },
    ...{ cpuModel: 'Nehalem', accelerator: 'tcg', cpuFlags: ['cx16', 'sse2'] },
    ...changes,
  });

test('compatibility: the same machine fits, and one that can more', (t) => {
  t.is(stampMismatch(stamp(), stamp()), undefined);
  t.is(stampMismatch(stamp(), stamp({ hypervisorVersion: '10.0' })), undefined);
  t.is(stampMismatch(stamp(), stamp({ cpuFlags: ['aes', 'cx16', 'sse2'] })), undefined);
  t.is(stampMismatch(stamp({ hypervisorVersion: '', cpuFlags: [] }), stamp()), undefined);
});

const others: [string, Partial<CompatibilityStamp>, string, string][] = [
  ['hypervisor', { hypervisor: 'wasmvm' }, 'qemu', 'wasmvm'],
  ['machineType', { machineType: 'pc-q35-8.0' }, 'pc-q35-7.2', 'pc-q35-8.0'],
  ['cpuModel', { cpuModel: 'Westmere' }, 'Nehalem', 'Westmere'],
  ['accelerator', { accelerator: 'kvm' }, 'tcg', 'kvm'],
  ['hypervisorVersion', { hypervisorVersion: '7.2.9' }, '7.2.22', '7.2.9'],
  ['hypervisorVersion', { hypervisorVersion: '6.9.99' }, '7.2.22', '6.9.99'],
  ['cpuFlags', { cpuFlags: ['sse2', 'aes'] }, 'cx16', 'none of these'],
];

for (const [attribute, changes, there, here] of others) {
  test(`compatibility: memory does not fit where ${attribute} is ${JSON.stringify(changes)}`, (t) => {
    t.deepEqual(stampMismatch(stamp(), stamp(changes)), { attribute, there, here });
  });
}

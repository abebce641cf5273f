import test from 'ava';
import { CapabilityName } from '../../../../gen/nfv/driver/v1/driver_pb.js';
import type { Hypervisor } from '../../../../plugins/drivers/qemu/machine/hypervisor.ts';
import { capabilitiesOf } from '../../../../plugins/drivers/qemu/service/information.ts';

const hypervisor: Hypervisor = {
  version: '7.2.22',
  machineType: 'pc-q35-7.2',
  cpuModel: 'Nehalem',
  cpuFlags: [],
  accelerator: 'tcg',
  ignoreShared: true,
  dgramNetdev: true,
  nbdServer: true,
};

const named = (answers: ReturnType<typeof capabilitiesOf>, name: CapabilityName) =>
  answers.find((answer) => answer.name === name)!;

test('capabilitiesOf: every capability is there once, and what cannot be used says why', (t) => {
  const answers = capabilitiesOf({ hypervisor });
  const names = Object.values(CapabilityName).filter((value) => typeof value === 'number');
  t.deepEqual(
    answers.map(({ name }) => name),
    names.filter((name) => name !== CapabilityName.UNSPECIFIED),
  );
  for (const { available, reason } of answers) t.is(available, reason === '');
});

test('capabilitiesOf: a QEMU without x-ignore-shared captures no memory', (t) => {
  const answers = capabilitiesOf({ hypervisor: { ...hypervisor, ignoreShared: false } });
  t.false(named(answers, CapabilityName.MEMORY_EXTERNAL).available);
  t.regex(named(answers, CapabilityName.MEMORY_EXTERNAL).reason, /x-ignore-shared/);
  t.true(named(answers, CapabilityName.COMPUTE).available);
});

test('capabilitiesOf: without QEMU nothing is available and the reason is the problem', (t) => {
  const answers = capabilitiesOf({ problem: 'cannot start qemu-system-x86_64' });
  t.true(answers.every(({ available }) => !available));
  t.regex(named(answers, CapabilityName.COMPUTE).reason, /cannot start/);
});

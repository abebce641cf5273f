import { strict as assert } from 'node:assert';
import { CapabilityName } from '../../../gen/nfv/driver/v1/driver_pb.js';
import { type Check, firstOf } from './kit.ts';

export const identityChecks: readonly Check[] = [
  {
    title:
      'identity §GetDriverInfo: kind, version, host and stamp are named, and the same each time',
    async run({ client }) {
      const info = await client.getDriverInfo({});
      for (const key of ['driver', 'driverVersion', 'hostId'] as const) assert(info[key], key);
      assert(info.compatibility?.hypervisor, 'compatibility.hypervisor');
      assert(info.compatibility.hypervisorVersion, 'compatibility.hypervisor_version');
      assert.deepEqual(await client.getDriverInfo({}), info);
    },
  },
  {
    title:
      'identity §WatchCapabilities: the list comes at once, has each capability once, and reasons for what is missing [Nfvi.001 5.3-2/advertise]',
    async run({ client }) {
      const first = await firstOf(client.watchCapabilities({}), () => true);
      const capabilities = first?.capabilities ?? [];
      const names = capabilities.map(({ name }) => name);
      assert.equal(new Set(names).size, names.length, 'no capability comes twice');
      const all = Object.values(CapabilityName).filter((value) => typeof value === 'number');
      const wanted = all.filter((name) => name !== CapabilityName.UNSPECIFIED);
      assert.deepEqual([...names].sort(numerically), wanted.sort(numerically));
      for (const { name, available, reason } of capabilities) {
        assert(available || reason, `${CapabilityName[name]} is missing without a reason`);
      }
    },
  },
];

const numerically = (left: number, right: number) => left - right;

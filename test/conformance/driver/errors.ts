import { strict as assert } from 'node:assert';
import { CapabilityName, DataTransport } from '../../../gen/nfv/driver/v1/driver_pb.js';
import {
  DiskTechnique,
  MemoryTechnique,
} from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { Code } from '../../../sdk/errors.ts';
import { bootGuest, makeGuest, snapshot } from './guests.ts';
import { type Check, capabilityText, fails, type Kit, seconds } from './kit.ts';

const nobody = 'kit-nobody';
const lost = { nanos: 0, seconds: 1n };

type Unknown = readonly [method: string, reason: string, call: (kit: Kit) => Promise<unknown>];

const unknownIds: readonly Unknown[] = [
  ['GetCompute', 'COMPUTE_UNKNOWN', ({ client }) => client.getCompute({ computeId: nobody })],
  [
    'OperateCompute',
    'COMPUTE_UNKNOWN',
    ({ client }) => client.operateCompute({ computeId: nobody, operation: 1 }),
  ],
  [
    'HoldCompute',
    'COMPUTE_UNKNOWN',
    ({ client }) => client.holdCompute({ computeId: nobody, deadline: lost }),
  ],
  [
    'ReleaseCompute',
    'COMPUTE_UNKNOWN',
    ({ client }) => client.releaseCompute({ computeId: nobody }),
  ],
  [
    'QuiesceCompute',
    'COMPUTE_UNKNOWN',
    ({ client }) => client.quiesceCompute({ computeId: nobody, deadline: lost }),
  ],
  [
    'CreateInstanceSnapshot',
    'COMPUTE_UNKNOWN',
    ({ client }) =>
      client.createInstanceSnapshot({ computeId: nobody, snapshotId: nobody, memory: true }),
  ],
  ['OpenVolumeData', 'VOLUME_UNKNOWN', ({ client }) => client.openVolumeData({ volumeId: nobody })],
  [
    'ShowInstanceSnapshot',
    'SNAPSHOT_UNKNOWN',
    ({ client }) => client.showInstanceSnapshot({ snapshotId: nobody }),
  ],
  [
    'UpdateInstanceSnapshot',
    'SNAPSHOT_UNKNOWN',
    ({ client }) => client.updateInstanceSnapshot({ snapshotId: nobody }),
  ],
  [
    'OpenSnapshotData',
    'SNAPSHOT_UNKNOWN',
    ({ client }) => client.openSnapshotData({ snapshotId: nobody }),
  ],
  [
    'SealSnapshotImport',
    'SNAPSHOT_UNKNOWN',
    ({ client }) => client.sealSnapshotImport({ snapshotId: nobody }),
  ],
  [
    'CreateVolume',
    'IMAGE_UNKNOWN',
    ({ client }) => client.createVolume({ volumeId: nobody, image: nobody }),
  ],
  [
    'CreateCompute',
    'IMAGE_UNKNOWN',
    ({ client }) => client.createCompute({ computeId: nobody, spec: { image: nobody } }),
  ],
];

export const errorChecks: readonly Check[] = [
  ...unknownIds.map(
    ([method, reason, call]): Check => ({
      title: `errors §${method}: an unknown id is NOT_FOUND ${reason}`,
      run: async (kit) => {
        await fails(call(kit), Code.NOT_FOUND, reason);
      },
    }),
  ),
  {
    title: 'errors §RevertToInstanceSnapshot: an unknown snapshot is NOT_FOUND SNAPSHOT_UNKNOWN',
    async run(kit) {
      const { computeId } = await makeGuest(kit, 'gateway');
      const call = kit.client.revertToInstanceSnapshot({ computeId, snapshotId: nobody });
      await fails(call, Code.NOT_FOUND, 'SNAPSHOT_UNKNOWN');
    },
  },
  {
    title:
      'errors §CreateCompute: an image that is a path, and an id that is one, are INVALID_ARGUMENT',
    async run(kit) {
      const computeId = kit.id('evil');
      kit.tracker.computes.add(computeId);
      for (const image of ['../gateway.wasm', '/etc/passwd', '..']) {
        await fails(
          kit.client.createCompute({ computeId, spec: { image } }),
          Code.INVALID_ARGUMENT,
        );
      }
      const { image } = kit.options.guests.gateway;
      const call = kit.client.createCompute({ computeId: '../evil', spec: { image } });
      await fails(call, Code.INVALID_ARGUMENT);
    },
  },
  {
    title:
      'errors §CreateCompute: an unknown volume and an unknown network are NOT_FOUND, and nothing is made',
    async run(kit) {
      const { image } = kit.options.guests.gateway;
      const computeId = kit.id('half');
      kit.tracker.computes.add(computeId);
      const volumes = [{ volumeId: nobody, name: 'data' }];
      const interfaces = [{ networkId: nobody }];
      const withVolume = kit.client.createCompute({ computeId, spec: { image, volumes } });
      await fails(withVolume, Code.NOT_FOUND, 'VOLUME_UNKNOWN');
      const withNetwork = kit.client.createCompute({ computeId, spec: { image, interfaces } });
      await fails(withNetwork, Code.NOT_FOUND, 'NETWORK_UNKNOWN');
      await fails(kit.client.getCompute({ computeId }), Code.NOT_FOUND, 'COMPUTE_UNKNOWN');
    },
  },
  {
    title: 'errors §HoldCompute: deadlines outside of 1 ms to 10 min are INVALID_ARGUMENT',
    needs: [CapabilityName.COMPUTE],
    async run(kit) {
      const { computeId } = await bootGuest(kit);
      for (const deadline of [seconds(0), { seconds: -1n, nanos: 0 }, seconds(601)]) {
        await fails(kit.client.holdCompute({ computeId, deadline }), Code.INVALID_ARGUMENT);
      }
    },
  },
  {
    title:
      'errors §capabilities: what is not claimed is refused with CAPABILITY_MISSING and its name',
    needs: [CapabilityName.COMPUTE],
    run: refusesWhatItDoesNotClaim,
  },
];

async function refusesWhatItDoesNotClaim(kit: Kit): Promise<void> {
  const guest = await bootGuest(kit);
  const { computeId } = guest;
  const volumeIds = Object.values(guest.volumes);
  const take = (more: object) => {
    const snapshotId = kit.id('refused');
    kit.tracker.snapshots.add(snapshotId);
    return kit.client.createInstanceSnapshot({
      computeId,
      snapshotId,
      memory: true,
      volumeIds,
      ...more,
    });
  };
  const attempts: [CapabilityName, () => Promise<unknown>][] = [
    [CapabilityName.MEMORY_INTERNAL, () => take({ memoryTechnique: MemoryTechnique.INTERNAL })],
    [CapabilityName.MEMORY_EXTERNAL, () => take({ memoryTechnique: MemoryTechnique.EXTERNAL })],
    [
      CapabilityName.DISK_EXTERNAL_INCREMENTAL,
      () => take({ diskTechnique: DiskTechnique.EXTERNAL_INCREMENTAL }),
    ],
    [
      CapabilityName.DISK_EXTERNAL_SEQUENTIAL,
      () => take({ diskTechnique: DiskTechnique.EXTERNAL_SEQUENTIAL }),
    ],
    [
      CapabilityName.NBD,
      async () => {
        const { snapshotId } = await snapshot(kit, guest, { memory: false });
        return kit.client.openSnapshotData({ snapshotId, transport: DataTransport.NBD });
      },
    ],
  ];
  for (const [capability, attempt] of attempts) {
    if (kit.can(capability)) continue;
    const error = await fails(attempt(), Code.UNIMPLEMENTED, 'CAPABILITY_MISSING');
    const named = Object.values(error.metadata).join();
    assert(named.includes(capabilityText(capability)), `${capabilityText(capability)} is named`);
  }
}

import { strict as assert } from 'node:assert';
import { StateAfterRevert } from '../../../gen/nfv/driver/v1/driver_pb.js';
import type { VirtualStorage } from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { Code } from '../../../sdk/errors.ts';
import { compute, makeGuest, makeNetwork, makeVolume } from './guests.ts';
import { blockDigests, snapshotDigests, volumeDigest, zeroDigest } from './images.ts';
import { type Check, fails, type Kit } from './kit.ts';

const sizeBytes = 4n * 1024n * 1024n;

async function find(kit: Kit, volumeId: string): Promise<VirtualStorage | undefined> {
  const { volumes } = await kit.client.listVolumes({});
  return volumes.find(({ storageId }) => storageId === volumeId);
}

export const volumeChecks: readonly Check[] = [
  {
    title:
      'volumes §CreateVolume: an empty volume is listed, free, of its size, and reads as zeros',
    async run(kit) {
      const volumeId = await makeVolume(kit, { name: 'empty', sizeBytes });
      const volume = await find(kit, volumeId);
      assert.equal(volume?.sizeBytes, sizeBytes);
      assert.equal(volume.ownerComputeId, '');
      assert(volume.driver && volume.createTime);
      const { location } = await kit.client.openVolumeData({ volumeId });
      assert(location);
      assert.equal(location.name, volumeId);
      const digests = new Set(await blockDigests(location));
      await kit.client.closeData({ token: location.token });
      assert.deepEqual([...digests], [zeroDigest(65536)]);
    },
  },
  {
    title: 'volumes §CreateVolume: a size that is no multiple of 512 is INVALID_ARGUMENT',
    async run(kit) {
      const volumeId = kit.id('odd');
      kit.tracker.volumes.add(volumeId);
      await fails(kit.client.createVolume({ volumeId, sizeBytes: 1000n }), Code.INVALID_ARGUMENT);
    },
  },
  {
    title: 'volumes §CreateVolume: the same id with another size is ALREADY_EXISTS ID_REUSED',
    async run(kit) {
      const volumeId = await makeVolume(kit, { name: 'twice', sizeBytes });
      const call = kit.client.createVolume({ volumeId, sizeBytes: sizeBytes * 2n });
      await fails(call, Code.ALREADY_EXISTS, 'ID_REUSED');
    },
  },
  {
    title: 'volumes §DeleteVolume: a deleted volume is gone; deleting it again succeeds',
    async run(kit) {
      const volumeId = await makeVolume(kit, { name: 'gone', sizeBytes });
      await kit.client.deleteVolume({ volumeId });
      assert.equal(await find(kit, volumeId), undefined);
      await kit.client.deleteVolume({ volumeId });
      await fails(kit.client.openVolumeData({ volumeId }), Code.NOT_FOUND, 'VOLUME_UNKNOWN');
    },
  },
  {
    title: 'volumes §DeleteVolume: an attached volume is FAILED_PRECONDITION VOLUME_ATTACHED',
    async run(kit) {
      const guest = await makeGuest(kit, 'gateway');
      const volumeId = Object.values(guest.volumes)[0] as string;
      assert.equal((await find(kit, volumeId))?.ownerComputeId, guest.computeId);
      const call = kit.client.deleteVolume({ volumeId });
      await fails(call, Code.FAILED_PRECONDITION, 'VOLUME_ATTACHED');
      await kit.client.deleteCompute({ computeId: guest.computeId });
      assert.equal((await find(kit, volumeId))?.ownerComputeId, '');
    },
  },
  {
    title:
      'volumes §AttachVolume: a volume joins a stopped guest, one guest at a time, and leaves it with its content [Nfvi.004]',
    async run(kit) {
      const guest = await makeGuest(kit, 'gateway');
      const other = await makeGuest(kit, 'gateway', guest.networkId);
      const { computeId } = guest;
      const volumeId = await makeVolume(kit, { name: 'extra', sizeBytes });
      const attachment = { volumeId, name: 'extra' };
      const { compute } = await kit.client.attachVolume({ computeId, attachment });
      assert.deepEqual(compute?.spec?.volumes.at(-1)?.volumeId, volumeId);
      assert.equal((await find(kit, volumeId))?.ownerComputeId, computeId);
      // Again: nothing changes. Elsewhere: refused.
      const again = await kit.client.attachVolume({ computeId, attachment });
      assert.deepEqual(again.compute?.spec, compute?.spec);
      const elsewhere = kit.client.attachVolume({ computeId: other.computeId, attachment });
      await fails(elsewhere, Code.FAILED_PRECONDITION);
      const before = await volumeDigest(kit, volumeId);
      await kit.client.detachVolume({ computeId, volumeId });
      assert.equal((await find(kit, volumeId))?.ownerComputeId, '');
      assert.equal(await volumeDigest(kit, volumeId), before);
    },
  },
  {
    title:
      'volumes §AttachVolume: detached volumes are captured and go back, and come to the places that they had [Nfvi.004]',
    async run(kit) {
      const guest = await makeGuest(kit, 'gateway');
      const { computeId } = guest;
      const extra = await makeVolume(kit, { name: 'extra', sizeBytes });
      await kit.client.attachVolume({ computeId, attachment: { volumeId: extra, name: 'extra' } });
      const before = (await compute(kit, guest)).spec!.volumes;
      const digests = () =>
        Promise.all(
          before.map(async ({ name, volumeId }) => [name, await volumeDigest(kit, volumeId)]),
        );
      const contents = Object.fromEntries(await digests());
      for (const { volumeId } of before) await kit.client.detachVolume({ computeId, volumeId });
      assert.deepEqual((await compute(kit, guest)).spec!.volumes, []);
      const snapshotId = kit.id('detached');
      kit.tracker.snapshots.add(snapshotId);
      const asked = { computeId, snapshotId, detachedVolumes: before };
      const { snapshot: taken } = await kit.client.createInstanceSnapshot(asked);
      assert.deepEqual(taken?.images.map(({ name }) => name).sort(), Object.keys(contents).sort());
      assert.deepEqual(await snapshotDigests(kit, snapshotId), contents);
      const { compute: back } = await kit.client.revertToInstanceSnapshot({
        ...{ computeId, snapshotId, detachedVolumes: before },
        stateAfter: StateAfterRevert.STOPPED,
      });
      assert.deepEqual(back?.spec?.volumes, [], 'they stay detached');
      assert.deepEqual(Object.fromEntries(await digests()), contents);
      // The last one first: each says where it belongs.
      const last = before.length - 1;
      const attach = (position: number) =>
        kit.client.attachVolume({ computeId, attachment: before[position]!, position });
      await attach(last);
      for (let position = 0; position < last; position++) await attach(position);
      assert.deepEqual((await compute(kit, guest)).spec!.volumes, before);
    },
  },
  {
    title:
      'volumes §CreateInstanceSnapshot: a volume that another guest has is no detached one: VOLUME_ATTACHED',
    async run(kit) {
      const guest = await makeGuest(kit, 'gateway');
      const other = await makeGuest(kit, 'gateway', guest.networkId);
      const volumeId = Object.values(other.volumes)[0] as string;
      const snapshotId = kit.id('stolen');
      kit.tracker.snapshots.add(snapshotId);
      const detachedVolumes = [{ volumeId, name: 'stolen' }];
      const { computeId } = guest;
      const call = kit.client.createInstanceSnapshot({ computeId, snapshotId, detachedVolumes });
      await fails(call, Code.FAILED_PRECONDITION, 'VOLUME_ATTACHED');
      const show = kit.client.showInstanceSnapshot({ snapshotId });
      await fails(show, Code.NOT_FOUND, 'SNAPSHOT_UNKNOWN');
    },
  },
  {
    title:
      'volumes §DeleteNetwork: a network in use is FAILED_PRECONDITION NETWORK_IN_USE, and goes when it is free',
    async run(kit) {
      const networkId = await makeNetwork(kit);
      const guest = await makeGuest(kit, 'gateway', networkId);
      const call = kit.client.deleteNetwork({ networkId });
      await fails(call, Code.FAILED_PRECONDITION, 'NETWORK_IN_USE');
      await kit.client.deleteCompute({ computeId: guest.computeId });
      await kit.client.deleteNetwork({ networkId });
      await kit.client.deleteNetwork({ networkId });
      const { networks } = await kit.client.listNetworks({});
      assert(!networks.some((network) => network.networkId === networkId));
    },
  },
];

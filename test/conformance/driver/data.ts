import { strict as assert } from 'node:assert';
import { create } from '@bufbuild/protobuf';
import type { DataLocation, Extent } from '../../../gen/nfv/common/v1/common_pb.js';
import { CapabilityName, StateAfterRevert } from '../../../gen/nfv/driver/v1/driver_pb.js';
import {
  type InstanceSnapshot,
  InstanceSnapshotSchema,
} from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { Code } from '../../../sdk/errors.ts';
import { writeImage } from './copy-image.ts';
import {
  assertAlive,
  bootGuest,
  bootPair,
  counts,
  type Guest,
  makeGuest,
  snapshot,
} from './guests.ts';
import {
  blockBytes,
  blockDigests,
  snapshotDigests,
  withSnapshotData,
  zeroDigest,
} from './images.ts';
import { type Check, fails, firstOf, type Kit } from './kit.ts';

const warm = [CapabilityName.COMPUTE, CapabilityName.VNF_CHANNEL, CapabilityName.MEMORY_EXTERNAL];

export const dataChecks: readonly Check[] = [
  {
    title:
      'data §OpenSnapshotData: one location for each image, with one token, a time and the size of the image [5.1.3.8/image-files Nfvi.003]',
    needs: warm,
    async run(kit) {
      const taken = await snapshot(kit, await bootGuest(kit));
      const { locations } = await kit.client.openSnapshotData({ snapshotId: taken.snapshotId });
      const sizes = (items: { name: string; sizeBytes: bigint }[]) =>
        Object.fromEntries(items.map(({ name, sizeBytes }) => [name, sizeBytes]));
      assert.deepEqual(sizes(locations), sizes(taken.images));
      assert.equal(new Set(locations.map(({ token }) => token)).size, 1);
      assert(locations.every(({ expireTime, role }) => expireTime && role > 0));
      const token = locations[0]?.token ?? '';
      await kit.client.closeData({ token });
      await kit.client.closeData({ token });
      const { snapshotId } = taken;
      const unknown = kit.client.openSnapshotData({ snapshotId, imageNames: ['nothing'] });
      await fails(unknown, Code.NOT_FOUND, 'IMAGE_UNKNOWN');
    },
  },
  {
    title:
      'data §OpenSnapshotData: an opening has the token that its caller chose; a repeat takes its place',
    async run(kit) {
      const { snapshotId } = await snapshot(kit, await makeGuest(kit, 'gateway'), {
        memory: false,
      });
      const token = kit.id('opening');
      for (const _ of ['first', 'repeat']) {
        const { locations } = await kit.client.openSnapshotData({ snapshotId, token });
        assert(locations.length > 0 && locations.every((location) => location.token === token));
      }
      const deletion = () => kit.client.deleteInstanceSnapshot({ snapshotId });
      await fails(deletion(), Code.FAILED_PRECONDITION, 'SNAPSHOT_OPEN');
      await kit.client.closeData({ token });
      await deletion();
    },
  },
  {
    title: 'data §OpenVolumeData: a volume of a running guest is FAILED_PRECONDITION COMPUTE_STATE',
    needs: warm,
    async run(kit) {
      const guest = await bootGuest(kit);
      const volumeId = Object.values(guest.volumes).at(-1) as string;
      const call = kit.client.openVolumeData({ volumeId });
      await fails(call, Code.FAILED_PRECONDITION, 'COMPUTE_STATE');
    },
  },
  {
    title:
      'data §GetMetadataAllocated: what is not listed reads as zero; the list is ordered and within the image',
    needs: warm,
    run: allocatedIsHonest,
  },
  {
    title:
      'data §GetMetadataDelta: every block that differs is in the map of two snapshots, of neighbours and beyond',
    needs: [...warm, CapabilityName.CHANGED_MAP],
    run: deltaIsComplete,
  },
  {
    title: 'data §GetMetadataDelta: after a revert and a deletion a map is complete or MAP_LOST',
    needs: [...warm, CapabilityName.CHANGED_MAP],
    run: deltaAfterRevert,
  },
  {
    title: 'data §GetMetadataDelta: an unknown image is IMAGE_UNKNOWN',
    async run(kit) {
      const guest = await makeGuest(kit, 'gateway');
      const { snapshotId } = await snapshot(kit, guest, { memory: false });
      const request = {
        baseSnapshotId: snapshotId,
        targetSnapshotId: snapshotId,
        imageName: 'nothing',
      };
      const call = firstOf(kit.client.getMetadataDelta(request), () => true);
      await fails(call, Code.NOT_FOUND, 'IMAGE_UNKNOWN');
    },
  },
  {
    title:
      'data §BeginSnapshotImport: a snapshot that was copied out comes in again, byte for byte, and reverts [5.1.3.9/image-files Nfvi.003]',
    needs: warm,
    run: importAgain,
  },
  {
    title:
      'data §SealSnapshotImport: a short image is refused and nothing is visible; beginning again starts over',
    async run(kit) {
      const taken = await snapshot(kit, await makeGuest(kit, 'gateway'), { memory: false });
      const { described, snapshotId } = describeImport(kit, taken);
      await kit.client.beginSnapshotImport({ snapshot: described });
      const show = () => kit.client.showInstanceSnapshot({ snapshotId });
      await fails(show(), Code.NOT_FOUND, 'SNAPSHOT_UNKNOWN');
      await assert.rejects(kit.client.sealSnapshotImport({ snapshotId }));
      await fails(show(), Code.NOT_FOUND, 'SNAPSHOT_UNKNOWN');
      const { locations } = await kit.client.beginSnapshotImport({ snapshot: described });
      await withSnapshotData(kit, taken.snapshotId, (sources) => copyAll(sources, locations));
      const { snapshot: sealed } = await kit.client.sealSnapshotImport({ snapshotId });
      assert.equal(sealed?.imported, true);
      await kit.client.sealSnapshotImport({ snapshotId });
    },
  },
  {
    title: 'data §BeginSnapshotImport: ids and names that are paths are INVALID_ARGUMENT',
    async run(kit) {
      const taken = await snapshot(kit, await makeGuest(kit, 'gateway'), { memory: false });
      const { described } = describeImport(kit, taken);
      const evilId = create(InstanceSnapshotSchema, { ...described, snapshotId: '../evil' });
      await fails(kit.client.beginSnapshotImport({ snapshot: evilId }), Code.INVALID_ARGUMENT);
      const images = described.images.map((image) => ({ ...image, name: '../evil' }));
      const evilName = create(InstanceSnapshotSchema, { ...described, images });
      await fails(kit.client.beginSnapshotImport({ snapshot: evilName }), Code.INVALID_ARGUMENT);
    },
  },
];

function describeImport(kit: Kit, taken: InstanceSnapshot) {
  const snapshotId = kit.id('import');
  kit.tracker.snapshots.add(snapshotId);
  return { snapshotId, described: create(InstanceSnapshotSchema, { ...taken, snapshotId }) };
}

async function copyAll(sources: DataLocation[], targets: DataLocation[]): Promise<void> {
  for (const source of sources) {
    const target = targets.find(({ name }) => name === source.name);
    assert(target, `there is a place for ${source.name}`);
    await writeImage(source, target);
  }
}

async function importAgain(kit: Kit): Promise<void> {
  const guest = await bootGuest(kit);
  const { generation } = await assertAlive(kit, guest);
  const taken = await snapshot(kit, guest);
  const { described, snapshotId } = describeImport(kit, taken);
  const { locations } = await kit.client.beginSnapshotImport({ snapshot: described });
  await withSnapshotData(kit, taken.snapshotId, (sources) => copyAll(sources, locations));
  await kit.client.sealSnapshotImport({ snapshotId });
  assert.deepEqual(
    await snapshotDigests(kit, snapshotId),
    await snapshotDigests(kit, taken.snapshotId),
  );
  await kit.client.deleteInstanceSnapshot({ snapshotId: taken.snapshotId });
  const { computeId } = guest;
  const stateAfter = StateAfterRevert.RUNNING;
  await kit.client.revertToInstanceSnapshot({ computeId, snapshotId, stateAfter });
  assert.equal((await assertAlive(kit, guest)).generation, generation);
}

async function allocatedIsHonest(kit: Kit): Promise<void> {
  const guest = await bootGuest(kit);
  const { snapshotId } = await snapshot(kit, guest);
  await withSnapshotData(kit, snapshotId, async (locations) => {
    for (const location of locations) {
      if (!Object.hasOwn(guest.volumes, location.name)) continue;
      const extents: Extent[] = [];
      const request = { snapshotId, imageName: location.name };
      for await (const part of kit.client.getMetadataAllocated(request))
        extents.push(...part.extents);
      assertOrdered(extents, location.sizeBytes);
      for (const [index, digest] of (await blockDigests(location)).entries()) {
        const start = index * blockBytes;
        const length = Math.min(blockBytes, Number(location.sizeBytes) - start);
        const claimedZero = !touches(extents, start, length);
        assert(!claimedZero || digest === zeroDigest(length), `${location.name}: block ${index}`);
      }
    }
  });
}

async function deltaIsComplete(kit: Kit): Promise<void> {
  const { gateway } = await bootPair(kit);
  const taken: string[] = [];
  for (let count = 0; count < 3; count++) {
    taken.push((await snapshot(kit, gateway)).snapshotId);
    await counts(kit, gateway, 20);
  }
  const [first, second, third] = taken as [string, string, string];
  assert.equal(await assertDelta(kit, gateway, first, second), 'complete');
  assert.equal(await assertDelta(kit, gateway, second, third), 'complete');
  assert.equal(await assertDelta(kit, gateway, first, third), 'complete');
}

async function deltaAfterRevert(kit: Kit): Promise<void> {
  const { gateway } = await bootPair(kit);
  const { computeId } = gateway;
  const first = (await snapshot(kit, gateway)).snapshotId;
  await counts(kit, gateway, 20);
  const second = (await snapshot(kit, gateway)).snapshotId;
  await kit.client.revertToInstanceSnapshot({ computeId, snapshotId: first });
  await assertAlive(kit, gateway);
  const third = (await snapshot(kit, gateway)).snapshotId;
  await assertDelta(kit, gateway, first, third);
  await assertDelta(kit, gateway, second, third);
  const fourth = (await snapshot(kit, gateway)).snapshotId;
  await kit.client.deleteInstanceSnapshot({ snapshotId: third });
  await assertDelta(kit, gateway, first, fourth);
}

/** Compares the maps of all disks with their contents. */
async function assertDelta(
  kit: Kit,
  guest: Guest,
  baseSnapshotId: string,
  targetSnapshotId: string,
): Promise<'complete' | 'lost'> {
  for (const imageName of Object.keys(guest.volumes)) {
    const request = { baseSnapshotId, targetSnapshotId, imageName };
    const extents: Extent[] = [];
    const sources = new Set<number>();
    try {
      for await (const part of kit.client.getMetadataDelta(request)) {
        sources.add(part.source);
        extents.push(...part.extents);
      }
    } catch (error) {
      await fails(Promise.reject(error), Code.FAILED_PRECONDITION, 'MAP_LOST');
      return 'lost';
    }
    assert.equal(sources.size, 1, 'a stream names one source');
    const [base, target] = await Promise.all(
      [baseSnapshotId, targetSnapshotId].map((snapshotId) => digestsOf(kit, snapshotId, imageName)),
    );
    assert(base && target);
    assertOrdered(extents, BigInt(target.length * blockBytes));
    for (const [index, digest] of target.entries()) {
      const claimedEqual = !touches(extents, index * blockBytes, blockBytes);
      assert(!claimedEqual || digest === base[index], `${imageName}: block ${index} differs`);
    }
    await assertResumes(kit, request, extents);
  }
  return 'complete';
}

/** A stream from an offset on has exactly the extents that end after it. */
async function assertResumes(
  kit: Kit,
  request: { baseSnapshotId: string; targetSnapshotId: string; imageName: string },
  extents: Extent[],
): Promise<void> {
  const startingOffset = extents[0] ? extents[0].start + extents[0].length : 0n;
  const rest: Extent[] = [];
  const stream = kit.client.getMetadataDelta({ ...request, startingOffset });
  for await (const part of stream) rest.push(...part.extents);
  const expected = extents.filter(({ start, length }) => start + length > startingOffset);
  assert.deepEqual(rest, expected);
}

async function digestsOf(kit: Kit, snapshotId: string, imageName: string): Promise<string[]> {
  return withSnapshotData(kit, snapshotId, async (locations) => {
    const location = locations.find(({ name }) => name === imageName);
    assert(location);
    return blockDigests(location);
  });
}

function assertOrdered(extents: Extent[], sizeBytes: bigint): void {
  let end = 0n;
  for (const { start, length } of extents) {
    assert(start >= end && length > 0n, 'extents are ordered and do not overlap');
    end = start + length;
  }
  assert(end <= sizeBytes, 'extents are within the image');
}

function touches(extents: Extent[], start: number, length: number): boolean {
  return extents.some(
    (extent) =>
      extent.start < BigInt(start + length) && extent.start + extent.length > BigInt(start),
  );
}

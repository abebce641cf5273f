import { createHash } from 'node:crypto';
import { type DataLocation, ImageFormat, ImageRole } from '../../gen/nfv/common/v1/common_pb.js';
import { DriverService } from '../../gen/nfv/driver/v1/driver_pb.js';
import type { VnfInstance, VnfSnapshot } from '../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { openSource } from '../../plugins/repository/sources/open-source.ts';
import { internal } from '../../sdk/errors.ts';
import type { Site } from './site.ts';

/** SHA-256 of disks, by "<vnfc>/<disk>". */
export type DiskDigests = Record<string, string>;

const chunkBytes = 4 * 1024 * 1024;

/**
 * Reads the disks of a VNF snapshot straight from its drivers, past repository and archive, and
 * hashes them. It asks the drivers as the VIM does, over the VIM's socket.
 */
export async function snapshotDigests(site: Site, snapshot: VnfSnapshot): Promise<DiskDigests> {
  const digests: DiskDigests = {};
  for (const { vnfcInstanceId, instanceSnapshot } of snapshot.vnfcSnapshots) {
    const { driver: target, snapshotId, images } = instanceSnapshot!;
    const client = site.client(DriverService, 'vim');
    const imageNames = images.filter(isDisk).map((image) => image.name);
    const { locations } = await client.openSnapshotData({ snapshotId, imageNames }, { target });
    for (const location of locations.filter(isDisk)) {
      digests[`${vnfcInstanceId}/${location.name}`] = await digestOf(location);
    }
    await client.closeData({ token: locations[0]!.token }, { target });
  }
  return digests;
}

/** Reads the present disks of a VNF whose components do not run, and hashes them. */
export async function presentDigests(site: Site, vnf: VnfInstance): Promise<DiskDigests> {
  const digests: DiskDigests = {};
  const info = vnf.instantiatedVnfInfo!;
  for (const vnfc of info.vnfcResourceInfo) {
    const target = vnfc.computeResource!.vimLevelResourceType;
    for (const storageId of vnfc.storageResourceIds) {
      const storage = info.virtualStorageResourceInfo.find((item) => item.id === storageId)!;
      const volumeId = storage.storageResource!.resourceId;
      const client = site.client(DriverService, 'vim');
      const { location } = await client.openVolumeData({ volumeId }, { target });
      digests[`${vnfc.id}/${storage.virtualStorageDescId}`] = await digestOf(location!);
      await client.closeData({ token: location!.token }, { target });
    }
  }
  return digests;
}

function isDisk({ role }: { role: ImageRole }): boolean {
  return role === ImageRole.DISK;
}

async function digestOf({ name, location }: DataLocation): Promise<string> {
  if (location.case !== 'localFile') {
    throw internal('LOCATION_UNEXPECTED', `disk ${name} is not a local file`);
  }
  const format = location.value.format === ImageFormat.QCOW2 ? 'qcow2' : 'raw';
  const { source } = await openSource(location.value.path, { format });
  try {
    const hash = createHash('sha256');
    for (let offset = 0; offset < source.sizeBytes; offset += chunkBytes) {
      const chunk = new Uint8Array(Math.min(chunkBytes, source.sizeBytes - offset));
      await source.read(offset, chunk);
      hash.update(chunk);
    }
    return hash.digest('hex');
  } finally {
    await source.close();
  }
}

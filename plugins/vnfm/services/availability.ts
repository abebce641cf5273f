import { PackageKind } from '../../../gen/nfv/repository/v1/repository_pb.js';
import type { InstanceSnapshot } from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import {
  SnapshotAvailability,
  type VnfSnapshotInfo,
} from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import {
  PackageState,
  type VnfSnapshotPkgInfo,
} from '../../../gen/nfv/vnf_snapshot_package/v1/vnf_snapshot_package_pb.js';
import { captureReport, type PresentSnapshots } from '../capture-report.ts';
import type { Vnfm } from '../vnfm.ts';

/** The largest page that the repository gives. */
const pageSize = 1000;

/**
 * Snapshots with their availability as the VIM has it now (Vnfm.008), and where their files are. LOST when a driver does not
 * have a part any more, UNSPECIFIED ("unknown") when the VIM cannot be asked. What an operation is
 * filling is shown without content.
 */
export async function withPresentAvailability(
  vnfm: Vnfm,
  infos: readonly VnfSnapshotInfo[],
  signal: AbortSignal,
): Promise<VnfSnapshotInfo[]> {
  const present = await presentSnapshots(vnfm, infos, signal);
  return infos.map((info): VnfSnapshotInfo => {
    const { AVAILABLE, LOST, UNSPECIFIED, DELETING } = SnapshotAvailability;
    if (info.availability !== AVAILABLE) {
      return info.availability === DELETING ? info : { ...info, vnfSnapshot: undefined as never };
    }
    const parts = info.vnfSnapshot?.vnfcSnapshots ?? [];
    const mode = vnfm.config.resourceManagement;
    const report = info.vnfSnapshot && captureReport(info.vnfSnapshot, present, mode);
    const told = { ...info, ...(report && { captureReport: report }) };
    const known = parts.map((part) => {
      const ids = present.get(part.vimConnectionId);
      return ids?.has(part.instanceSnapshot?.snapshotId ?? '');
    });
    if (known.some((here) => here === undefined)) return { ...told, availability: UNSPECIFIED };
    return { ...told, availability: known.every((here) => here) ? AVAILABLE : LOST };
  });
}

/** The instance snapshots that each VIM has; a VIM that cannot be asked has no entry. */
async function presentSnapshots(
  vnfm: Vnfm,
  infos: readonly VnfSnapshotInfo[],
  signal: AbortSignal,
): Promise<PresentSnapshots> {
  const wanted = new Map<string, string[]>();
  for (const { vnfSnapshot, availability } of infos) {
    if (availability !== SnapshotAvailability.AVAILABLE) continue;
    for (const { vimConnectionId, instanceSnapshot } of vnfSnapshot?.vnfcSnapshots ?? []) {
      const ids = wanted.get(vimConnectionId) ?? [];
      wanted.set(vimConnectionId, [...ids, instanceSnapshot?.snapshotId ?? '']);
    }
  }
  const present = new Map<string, Map<string, InstanceSnapshot>>();
  for (const [vim, snapshotIds] of wanted) {
    try {
      const { snapshots } = await vnfm.peers
        .vim(vim)
        .compute.queryVirtualisedComputeResourceSnapshots({ snapshotIds }, { signal });
      present.set(vim, new Map(snapshots.map((snapshot) => [snapshot.snapshotId, snapshot])));
    } catch (error) {
      vnfm.logger.warn('the VIM cannot be asked for snapshots', { vim, error });
    }
  }
  return present;
}

/**
 * Packages with their state as the repository has it now (Vnfm.009). LOST when it does not list one
 * any more, UNSPECIFIED ("unknown") when it cannot be asked.
 */
export async function withPresentState(
  vnfm: Vnfm,
  infos: readonly VnfSnapshotPkgInfo[],
  signal: AbortSignal,
): Promise<VnfSnapshotPkgInfo[]> {
  if (infos.length === 0) return [];
  const { AVAILABLE, LOST, UNSPECIFIED } = PackageState;
  try {
    const present = await presentPackages(vnfm, signal);
    return infos.map((info) =>
      info.state !== AVAILABLE || present.has(info.id) ? info : { ...info, state: LOST },
    );
  } catch (error) {
    vnfm.logger.warn('the repository cannot be asked for packages', { error });
    return infos.map((info) => (info.state === AVAILABLE ? { ...info, state: UNSPECIFIED } : info));
  }
}

async function presentPackages(vnfm: Vnfm, signal: AbortSignal): Promise<Set<string>> {
  const ids = new Set<string>();
  let pageToken = '';
  do {
    const page = await vnfm.peers.repository.listPackages(
      { kind: PackageKind.VNF, pageSize, pageToken },
      { signal },
    );
    for (const { packageId } of page.packages) ids.add(packageId);
    pageToken = page.nextPageToken;
  } while (pageToken !== '');
  return ids;
}

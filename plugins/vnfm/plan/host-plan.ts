import type { VnfSnapshot } from '../../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { failedPrecondition, invalidArgument } from '../../../sdk/errors.ts';
import { partId } from '../identifiers.ts';
import type { DriverView } from './capabilities.ts';
import { type Carried, type HostPlan, hostAfter, type Move } from './hosts.ts';
import { planInstantiation, type VnfcResources } from './instantiation-plan.ts';
import type { RevertPlan, VnfcRevertPlan } from './revert-plan.ts';
import type { Component, Situation } from './situation.ts';

export type HostWish = {
  /** The host that the request names; absent: every component stays where it is. */
  target: DriverView | undefined;
  /** A new identifier: of the copies, and of what is made on the host. */
  moveId: string;
  /** The networks of the VNF now, by virtual link. */
  networkIds: ReadonlyMap<string, string>;
  skipSafetySnapshot: boolean;
};

/**
 * Plans what is brought to another host for a reversion; pure. The components of the host's kind move together, because a
 * virtual link does not leave its host.
 *
 * INVALID_ARGUMENT with reason SAFETY_NEEDED; FAILED_PRECONDITION with reason HOST_KIND or LEFT_BEHIND.
 */
export function planHosts(
  situation: Situation,
  snapshot: VnfSnapshot,
  plan: RevertPlan,
  wish: HostWish,
): HostPlan {
  const { components } = situation;
  const { target } = wish;
  if (target && !components.some(({ environment }) => environment === target.kind)) {
    const text = `host "${target.instance}" is of kind "${target.kind}"; the VNF has no component of that kind`;
    throw failedPrecondition('HOST_KIND', text, { host: target.instance, kind: target.kind });
  }
  const moved = components.filter(
    (component) => hostAfter(component, target).instance !== component.driver.instance,
  );
  if (moved.length > 0) checkMove(snapshot, plan, moved, wish);
  const carried = plan.vnfcs.flatMap((vnfc): Carried[] => {
    const component = components.find((item) => item.vnfcInstanceId === vnfc.vnfcInstanceId)!;
    const content = contentOf(snapshot, vnfc)!;
    const host = hostAfter(component, target).instance;
    if (content.driver === '' || content.driver === host) return [];
    return [
      {
        vnfcInstanceId: vnfc.vnfcInstanceId,
        snapshotId: content.snapshotId,
        copyId: partId(wish.moveId, vnfc.vnfcInstanceId),
        environment: component.environment,
        host,
        sizeBytes: String(content.images.reduce((sum, image) => sum + image.sizeBytes, 0n)),
      },
    ];
  });
  if (!target || moved.length === 0) return { carried };
  return { carried, move: planMove(situation, snapshot, moved, target, wish) };
}

function planMove(
  { vnfd }: Situation,
  snapshot: VnfSnapshot,
  moved: readonly Component[],
  host: DriverView,
  { moveId, networkIds }: HostWish,
): Move {
  const made = planInstantiation(moveId, vnfd, host.kind);
  const vnfcs = made.vnfcs.filter(({ vnfcInstanceId }) =>
    moved.some((component) => component.vnfcInstanceId === vnfcInstanceId),
  );
  const networks = made.networks.filter(({ networkId }) =>
    vnfcs.some(({ interfaces }) => interfaces.some((item) => item.networkId === networkId)),
  );
  return {
    ...{ host: host.instance, networks },
    vnfcs: vnfcs.map((vnfc) => ({
      ...vnfc,
      // Every disk gets what was captured, so it begins empty.
      volumes: vnfc.volumes.map((volume) => ({
        ...{ ...volume, image: '', sizeBytes: sizeOf(snapshot, vnfc, volume.name) },
      })),
    })),
    left: {
      computes: moved.map(({ vnfcInstanceId, computeId }) => ({ vnfcInstanceId, computeId })),
      storages: moved.flatMap(({ vnfcInstanceId, disks }) =>
        disks.map(({ name, storageId }) => ({ name: `${vnfcInstanceId}/${name}`, storageId })),
      ),
      networks: networks.flatMap(({ linkId: name }) => {
        const networkId = networkIds.get(name);
        return networkId === undefined ? [] : [{ name, networkId }];
      }),
    },
  };
}

function checkMove(
  snapshot: VnfSnapshot,
  plan: RevertPlan,
  moved: readonly Component[],
  { skipSafetySnapshot }: HostWish,
): void {
  if (skipSafetySnapshot) {
    const text = 'a reversion on another host keeps the present state until it is through';
    throw invalidArgument('SAFETY_NEEDED', `${text}; leave skip_safety_snapshot out`);
  }
  for (const { vnfcInstanceId, disks } of moved) {
    const vnfc = plan.vnfcs.find((item) => item.vnfcInstanceId === vnfcInstanceId);
    if (!vnfc) throw leftBehind(snapshot, vnfcInstanceId);
    const missing = disks.find(({ name }) => !vnfc.images.includes(name));
    if (missing) throw leftBehind(snapshot, `${vnfcInstanceId}/${missing.name}`);
  }
}

/** The components as they are loaded: on their new host, from the copy there. */
export function loadedOf({ vnfcs, hosts }: RevertPlan): VnfcRevertPlan[] {
  return vnfcs.map((vnfc) => {
    const { vnfcInstanceId } = vnfc;
    const copy = hosts?.carried.find((item) => item.vnfcInstanceId === vnfcInstanceId);
    const made = hosts?.move?.vnfcs.find((item) => item.vnfcInstanceId === vnfcInstanceId);
    return {
      ...vnfc,
      ...(copy && { snapshotId: copy.copyId }),
      ...(made && placedAt(made)),
    };
  });
}

function placedAt({ computeId, volumes }: VnfcResources): Partial<VnfcRevertPlan> {
  return {
    ...{ computeId, moved: true, detach: [], attach: [] },
    disks: volumes.map(({ storageId, name, boot }, position) => ({
      ...{ storageId, name, boot, position, attached: true },
    })),
  };
}

function sizeOf(snapshot: VnfSnapshot, vnfc: { vnfcInstanceId: string }, disk: string): string {
  const image = contentOf(snapshot, vnfc)?.images.find(({ name }) => name === disk);
  return String(image?.sizeBytes ?? 0n);
}

function contentOf({ vnfcSnapshots }: VnfSnapshot, { vnfcInstanceId }: { vnfcInstanceId: string }) {
  return vnfcSnapshots.find((part) => part.vnfcInstanceId === vnfcInstanceId)?.instanceSnapshot;
}

function leftBehind(snapshot: VnfSnapshot, what: string) {
  return failedPrecondition(
    'LEFT_BEHIND',
    `VNF snapshot "${snapshot.id}" does not have ${what}, which would be lost on another host`,
    { vnf_snapshot_id: snapshot.id, what },
  );
}

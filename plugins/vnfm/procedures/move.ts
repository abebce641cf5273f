/** Components that come back on another host (GR NFV-TST 005 table 5.1.3.3-1): the VNF's record, and what they left. */
import { type PlanItem, parallel } from '../../../sdk/operations/engine.ts';
import type { Transaction } from '../../../sdk/records/record-store.ts';
import type { Move } from '../plan/hosts.ts';
import { changeRecord, vnfInstances } from '../records.ts';
import type { Vnfm } from '../vnfm.ts';
import { type EndInput, endCompute, endNetwork, endStorage } from './terminate-vnf.ts';

/** From here on the VNF is what was made on the host. */
export async function recordMove(
  tx: Transaction,
  vnfInstanceId: string,
  { networks, vnfcs }: Move,
): Promise<void> {
  const resources = new Map<string, string>();
  for (const vnfc of vnfcs) {
    resources.set(vnfc.vnfcInstanceId, vnfc.computeId);
    for (const { name, storageId } of vnfc.volumes) {
      resources.set(`${vnfc.vnfcInstanceId}/${name}`, storageId);
    }
  }
  const links = new Map(networks.map(({ linkId, networkId }) => [linkId, networkId]));
  const point = (handle: { resourceId: string } | undefined, resourceId: string | undefined) => {
    if (handle && resourceId !== undefined) handle.resourceId = resourceId;
  };
  await changeRecord(tx, vnfInstances, vnfInstanceId, ({ instantiatedVnfInfo: info }) => {
    for (const vnfc of info?.vnfcResourceInfo ?? []) {
      point(vnfc.computeResource, resources.get(vnfc.id));
    }
    for (const storage of info?.virtualStorageResourceInfo ?? []) {
      point(storage.storageResource, resources.get(storage.id));
    }
    for (const link of info?.vnfVirtualLinkResourceInfo ?? []) {
      point(link.networkResource, links.get(link.id));
    }
  });
}

/** Ends what the components left. A failure waits for a person, who retries. */
export function endLeft<I extends EndInput>(vnfm: Vnfm, { left }: Move): PlanItem<I>[] {
  return [
    left.computes.map((vnfc) => [endCompute<I>(vnfm, vnfc)]),
    left.storages.map(({ storageId, name }) => [endStorage<I>(vnfm, storageId, name)]),
    left.networks.map(({ networkId, name }) => [endNetwork<I>(vnfm, networkId, name)]),
  ]
    .filter((chains) => chains.length > 0)
    .map((chains) => parallel<I>(chains));
}

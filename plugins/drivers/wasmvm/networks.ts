import type { VirtualNetwork } from '../../../gen/nfv/virtualisation/v1/virtualisation_pb.js';
import { failedPrecondition } from '../../../sdk/errors.ts';
import { type Core, networkKey } from './core.ts';
import { networksMax } from './limits.ts';
import { networkMessage } from './messages.ts';
import { tooMany } from './refusals.ts';

/** Makes a network between guests. */
export function createNetwork(core: Core, networkId: string): Promise<VirtualNetwork> {
  return core.locks.run([networkKey(networkId)], async () => {
    const known = core.inventory.networks.get(networkId);
    if (known) return networkMessage(core, known);
    if (core.inventory.networks.size >= networksMax) throw tooMany('networks', networksMax);
    const network = { id: networkId, createMs: core.clock.now().getTime() };
    await core.inventory.write({ networks: [network] });
    return networkMessage(core, network);
  });
}

/** Deletes a network that no compute resource is on. */
export function deleteNetwork(core: Core, networkId: string): Promise<void> {
  return core.locks.run([networkKey(networkId)], async () => {
    const user = [...core.inventory.computes.values()].find(({ spec }) =>
      spec.interfaces.some((item) => item.networkId === networkId),
    );
    if (user) {
      const text = `network ${networkId} is in use by compute ${user.id}; delete that first`;
      throw failedPrecondition('NETWORK_IN_USE', text, {
        network_id: networkId,
        compute_id: user.id,
      });
    }
    await core.inventory.write({ deletedNetworks: [networkId] });
  });
}

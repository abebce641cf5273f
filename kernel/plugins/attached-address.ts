import { openChannel, type TlsMaterial } from '../../sdk/transport/grpc-channel.ts';
import type { Connector } from './connector.ts';

/** Reaches a plugin whose process somebody else looks after. */
export function attachedAddress(address: string, tls: TlsMaterial | undefined): Connector {
  return {
    ownsProcess: false,
    connect: async () => {
      const channel = openChannel({ address, ...(tls ? { tls } : {}) });
      return {
        address,
        channel,
        ended: new Promise<string>(() => {}),
        close: async () => channel.close(),
      };
    },
  };
}

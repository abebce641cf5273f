import { framesQueuedMax } from '../limits.ts';

/**
 * The end of a cable: frames wait here until the guest takes them. The queue is part of the device
 * state.
 */
export class NetworkInterface {
  readonly networkId: string;
  readonly mac: Uint8Array;
  /** A link that is down loses what is sent to it and from it. */
  linkUp = true;
  readonly queue: Uint8Array[] = [];

  constructor(networkId: string, mac: string) {
    this.networkId = networkId;
    this.mac = parseMac(mac);
  }

  deliver(frame: Uint8Array): void {
    if (this.linkUp && this.queue.length < framesQueuedMax) this.queue.push(frame);
  }
}

/** Carries frames between the interfaces of one network, in the order they were sent. */
export class Switch {
  readonly #ports = new Set<NetworkInterface>();

  plug(port: NetworkInterface): void {
    this.#ports.add(port);
  }

  unplug(port: NetworkInterface): void {
    this.#ports.delete(port);
  }

  /**
   * Sends to the interface with the frame's destination, or to all others when its group bit is
   * set.
   */
  send(from: NetworkInterface, frame: Uint8Array): void {
    if (!from.linkUp) return;
    const toAll = ((frame[0] as number) & 1) === 1;
    for (const port of this.#ports) {
      if (port === from || port.networkId !== from.networkId) continue;
      if (toAll || isFor(port, frame)) port.deliver(frame);
    }
  }
}

function isFor(port: NetworkInterface, frame: Uint8Array): boolean {
  for (let index = 0; index < 6; index++) if (port.mac[index] !== frame[index]) return false;
  return true;
}

/** Parses "52:54:00:12:34:56", which was checked before. */
export function parseMac(text: string): Uint8Array {
  return Uint8Array.from(text.split(':'), (part) => Number.parseInt(part, 16));
}

import { invalidArgument } from '../../../../sdk/errors.ts';
import { limits } from './protocol.ts';

/** Where an export is. The export name may be empty. */
export type NbdAddress =
  | { socketPath: string; exportName: string }
  | { host: string; port: number; exportName: string };

const defaultPort = 10809;

/** True for a text that means an NBD export and no file. */
export function isNbdAddress(text: string): boolean {
  return /^nbd(\+unix)?:\/\//.test(text);
}

/** `nbd+unix:///EXPORT?socket=PATH` or `nbd://HOST[:PORT]/EXPORT`. */
export function parseNbdAddress(text: string): NbdAddress {
  const wrong = (why: string) =>
    invalidArgument('NBD_ADDRESS_INVALID', `${text.slice(0, 200)} is no NBD address: ${why}`, {
      address: text.slice(0, 200),
    });
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw wrong('it is no URI');
  }
  let exportName: string;
  try {
    exportName = decodeURIComponent(url.pathname.replace(/^\//, ''));
  } catch {
    throw wrong('the export name is not encoded as in a URI');
  }
  if (Buffer.byteLength(exportName) > limits.nameBytes) throw wrong('the export name is too long');
  if (url.protocol === 'nbd+unix:') {
    const socketPath = url.searchParams.get('socket');
    if (!socketPath) throw wrong('the socket is missing (?socket=PATH)');
    return { socketPath, exportName };
  }
  if (url.protocol !== 'nbd:') throw wrong('it must begin with nbd:// or nbd+unix://');
  const host = url.hostname.replace(/^\[|\]$/g, '');
  if (host === '') throw wrong('the host is missing');
  return { host, port: Number(url.port || defaultPort), exportName };
}

export function formatNbdAddress(address: NbdAddress, encrypted = false): string {
  const scheme = encrypted ? 'nbds' : 'nbd';
  const name = encodeURIComponent(address.exportName);
  if ('socketPath' in address) {
    const path = encodeURIComponent(address.socketPath).replaceAll('%2F', '/');
    return `${scheme}+unix:///${name}?socket=${path}`;
  }
  const host = address.host.includes(':') ? `[${address.host}]` : address.host;
  return `${scheme}://${host}:${address.port}/${name}`;
}

import type { Random } from '../../sdk/ports/random.ts';

/**
 * RFC 4648 base32 in lower case: no two characters that people confuse, and safe in file and socket
 * names.
 */
const alphabet = 'abcdefghijklmnopqrstuvwxyz234567';
const randomCharacters = 8;

/** The kinds of identifiers that the VNFM gives. */
export type IdentifierKind = 'vnf' | 'snap' | 'pkg' | 'safe' | 'move';

/** A new identifier, for example "vnf-k3j2m5qa": short, because drivers make socket paths of it. */
export function newIdentifier(kind: IdentifierKind, random: Random): string {
  let text = '';
  for (const byte of random.bytes(randomCharacters)) text += alphabet[byte & 31];
  return `${kind}-${text}`;
}

/** The VNFC instance of a VDU. A VNF has one of each. */
export function vnfcInstanceId(vduId: string): string {
  return `${vduId}-0`;
}

/** The compute resource of a VNFC instance, as the VIM knows it. */
export function computeId(vnfInstanceId: string, vnfc: string): string {
  return `${vnfInstanceId}.${vnfc}`;
}

/** The volume of a VNFC instance, as the VIM knows it. */
export function storageId(vnfInstanceId: string, vnfc: string, storageDescId: string): string {
  return `${vnfInstanceId}.${vnfc}.${storageDescId}`;
}

/** The network of a virtual link, as the VIM knows it. */
export function networkId(vnfInstanceId: string, linkDescId: string): string {
  return `${vnfInstanceId}.${linkDescId}`;
}

/** The part of one VNFC in a VNF snapshot or a package, as the VIM or the repository knows it. */
export function partId(wholeId: string, vnfc: string): string {
  return `${wholeId}.${vnfc}`;
}

/** Turns what peers can do into the contenders of a case. */
import type { Peer } from '../peers/peer.ts';
import type { Contender } from '../types.ts';

// The images that were packed are not part of what the next rounds begin with.
const forget = 'rm -rf "$W/source" "$W/log"';

function identity({ id, title, needs, isOurs = false, roundsMax }: Peer) {
  return { id, title, needs, isOurs, ...(roundsMax !== undefined && { roundsMax }) };
}

function packing(peer: Peer): string {
  return [peer.prepare, peer.pack].filter((text) => text !== undefined).join('\n');
}

/** Packs `$IMAGE` into an empty folder. */
export function packers(peers: readonly Peer[], original: string): Contender[] {
  return peers.flatMap((peer) => {
    const { pack, unpack, prepare } = peer;
    if (pack === undefined || unpack === undefined) return [];
    return {
      ...identity(peer),
      ...(prepare !== undefined && { prepare }),
      run: pack,
      unpack,
      compare: { restored: 'back/image', original },
    };
  });
}

/** Packs `$NEXT` where `$IMAGE` was packed before. */
export function nextPackers(
  peers: readonly Peer[],
  original: string,
  baseKey: string,
): Contender[] {
  return peers.flatMap((peer) => {
    const { next } = peer;
    if (next === undefined) return [];
    return {
      ...identity(peer),
      ...(next.needsPack && { base: { key: baseOf(peer, baseKey), script: base(peer) } }),
      ...(next.prepare !== undefined && { prepare: next.prepare }),
      run: next.pack,
      unpack: next.unpack,
      compare: { restored: 'back/image', original },
    };
  });
}

/** Restores all that `pack` made. */
export function unpackers(peers: readonly Peer[], original: string, baseKey: string): Contender[] {
  return peers.flatMap((peer) => {
    if (peer.pack === undefined || peer.unpack === undefined) return [];
    return {
      ...identity(peer),
      base: { key: baseOf(peer, baseKey), script: base(peer) },
      readsBase: true,
      run: peer.unpack,
      compare: { restored: 'back/image', original },
    };
  });
}

/** Checks what `pack` made. There is nothing to compare: the exit code is the answer. */
export function verifiers(peers: readonly Peer[], baseKey: string): Contender[] {
  return peers.flatMap((peer) => {
    if (peer.pack === undefined || peer.verify === undefined) return [];
    return {
      ...identity(peer),
      base: { key: baseOf(peer, baseKey), script: base(peer) },
      readsBase: true,
      run: peer.verify,
    };
  });
}

/** Restores `$OTHER` of a package of two. */
export function pairUnpackers(peers: readonly Peer[], original: string): Contender[] {
  return peers.flatMap((peer) => {
    const { pair } = peer;
    if (pair === undefined) return [];
    return {
      ...identity(peer),
      base: { key: `${peer.id}-pair`, script: `${pair.pack}\n${forget}` },
      readsBase: true,
      run: pair.unpack,
      compare: { restored: 'back/image', original },
    };
  });
}

function base(peer: Peer): string {
  return `${packing(peer)}\n${forget}`;
}

function baseOf(peer: Peer, baseKey: string): string {
  return `${baseKey}-${peer.sharesPackOf ?? peer.id}`;
}

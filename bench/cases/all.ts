/** The cases over the images of a run. What needs an image that is not there is left out. */
import type { Images } from '../images.ts';
import {
  lz4,
  lz4Unchecked,
  mapScript,
  qemuRebase,
  qemuZstd,
  xdelta,
  zstd,
} from '../peers/files.ts';
import { compareLimit, hashLimit, oneWorkerLimit, packLimit } from '../peers/limits.ts';
import * as ours from '../peers/ours.ts';
import type { Peer } from '../peers/peer.ts';
import { borgLz4, casync, resticAuto } from '../peers/repositories.ts';
import type { Case } from '../types.ts';
import { nextPackers, packers, pairUnpackers, unpackers, verifiers } from './from-peers.ts';
import { warmPacker } from './warm.ts';

const { mano } = ours;
const stored = 'stored';

/** Where no goal hangs on a peer it has fewer turns, so that all cases take a quarter of an hour. */
const fewRounds = 3;

function few(...peers: Peer[]): Peer[] {
  return peers.map((peer) => ({ ...peer, roundsMax: Math.min(fewRounds, peer.roundsMax ?? 99) }));
}

export function allCases(images: Images): Case[] {
  const { first, next, memory, sparse, incompressible } = images;
  const one = (id: string, title: string, image: string, peers: readonly Peer[]): Case => ({
    id,
    title,
    stores: stored,
    variables: { IMAGE: image },
    reads: [image],
    contenders: packers(peers, image),
  });
  return [
    full(one('full', 'Full package of a disk', first, fullPeers)),
    ...(next ? [incremental(images, next)] : []),
    noChange(images),
    {
      id: 'restore',
      title: 'Restore of a disk',
      variables: { IMAGE: first },
      reads: [first],
      contenders: unpackers(
        [mano, resticAuto, borgLz4, lz4, ...few(zstd, qemuZstd, casync)],
        first,
        'first',
      ),
    },
    ...(memory ? [restoreOne(first, memory)] : []),
    {
      id: 'verify',
      title: 'Verification of all that is stored',
      variables: { IMAGE: first },
      reads: [first],
      contenders: verifiers([mano, ...few(resticAuto, borgLz4, lz4, zstd)], 'first'),
    },
    ...(memory
      ? [
          one('memory', 'Full package of the memory of a guest', memory, [
            mano,
            ...few(lz4, lz4Unchecked, zstd, qemuZstd, borgLz4, resticAuto),
          ]),
        ]
      : []),
    ...(sparse
      ? [one('sparse', 'Sparse disk', sparse, [mano, { ...lz4, roundsMax: 1 }, qemuZstd])]
      : []),
    ...(incompressible
      ? [
          one('incompressible', 'Data that does not compress', incompressible, [
            mano,
            ...few(lz4, zstd, borgLz4, resticAuto),
          ]),
        ]
      : []),
    ...(images.sizes ? [sizes(images.sizes)] : []),
  ];
}

function full(item: Case): Case {
  return { ...item, contenders: [...item.contenders, packLimit, oneWorkerLimit] };
}

const fullPeers: readonly Peer[] = [
  mano,
  ours.manoOneWorker,
  ours.manoTwoWorkers,
  ours.manoZstd,
  lz4,
  lz4Unchecked,
  zstd,
  qemuZstd,
  borgLz4,
  resticAuto,
  casync,
];

function incremental({ first, changedMap, emptyMap }: Images, next: string): Case {
  const warm = warmPacker({
    id: 'mano-warm-map',
    title: 'Micromano, changed-block map, warm service',
    base: manoBase,
    image: next,
    before: first,
    changedMap,
    emptyMap,
  });
  const peers = [
    mano,
    // Only its bytes are wanted, and they are the same in each round.
    { ...ours.manoPlain, roundsMax: 1 },
    ours.manoParentImage,
    ours.manoMap,
    resticAuto,
    borgLz4,
    qemuRebase,
    mapScript,
    xdelta,
    casync,
  ];
  const contenders = nextPackers(peers, next, 'first');
  const place = contenders.findIndex(({ id }) => id === ours.manoMap.id) + 1;
  return {
    id: 'incremental',
    title: 'Increment: the disk after changes',
    stores: stored,
    variables: { IMAGE: first, NEXT: next, MAP: changedMap },
    reads: [first, next],
    contenders: [
      ...contenders.slice(0, place),
      warm,
      ...contenders.slice(place),
      hashLimit,
      compareLimit,
    ],
  };
}

// A copy, so that nobody is told by a file's time of change that there is nothing to do.
function noChange({ first, firstCopy, emptyMap }: Images): Case {
  const warm = warmPacker({
    id: 'mano-warm-empty-map',
    title: 'Micromano, empty map, warm service',
    base: manoBase,
    image: firstCopy,
    before: first,
    changedMap: emptyMap,
    emptyMap,
  });
  const peers = [mano, ...few(resticAuto, borgLz4, qemuRebase)];
  return {
    id: 'no-change',
    title: 'Increment: nothing changed',
    stores: stored,
    variables: { IMAGE: first, NEXT: firstCopy, MAP: emptyMap },
    reads: [first, firstCopy],
    contenders: [...nextPackers(peers, firstCopy, 'first'), warm],
  };
}

/** The store with `$IMAGE` in it; the same as the base of `mano` in other cases. */
const manoBase = { key: 'first-mano', script: `${mano.pack}\nrm -rf "$W/source" "$W/log"` };

function restoreOne(first: string, memory: string): Case {
  return {
    id: 'restore-one',
    title: 'Restore of one image of a package of two',
    variables: { IMAGE: first, OTHER: memory },
    reads: [first, memory],
    contenders: pairUnpackers([mano, ...few(resticAuto, borgLz4)], memory),
  };
}

/** The same change on a small and on a large disk. */
function sizes({ small, large, changedMap, emptyMap }: NonNullable<Images['sizes']>): Case {
  const both = (id: string, title: string, disk: { before: string; after: string }) => {
    const script = `"$MANO" pack "${disk.before}" --store "$W/store" --json --format raw --id first`;
    const common = { base: { key: `sizes-${id}`, script }, before: disk.before, emptyMap };
    return [
      warmPacker({ ...common, id, title, image: disk.after, changedMap }),
      warmPacker({
        ...common,
        id: `${id}-no-change`,
        title: `${title}, nothing changed`,
        image: disk.before,
        changedMap: emptyMap,
      }),
    ];
  };
  return {
    id: 'sizes',
    title: 'The same change on disks of two sizes, in a warm service',
    stores: stored,
    variables: {},
    reads: [],
    contenders: [...both('small', small.title, small), ...both('large', large.title, large)],
  };
}

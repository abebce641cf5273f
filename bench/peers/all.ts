import { lz4, lz4Unchecked, mapScript, qemuRebase, qemuZstd, xdelta, zstd } from './files.ts';
import {
  mano,
  manoMap,
  manoOneWorker,
  manoParentImage,
  manoPlain,
  manoTwoWorkers,
  manoZstd,
} from './ours.ts';
import type { Peer } from './peer.ts';
import { borgLz4, casync, resticAuto } from './repositories.ts';

/** Everybody; `mano`, which the others are compared with, first. */
export const allPeers: readonly Peer[] = [
  mano,
  manoOneWorker,
  manoTwoWorkers,
  manoZstd,
  manoPlain,
  manoParentImage,
  manoMap,
  lz4,
  lz4Unchecked,
  zstd,
  qemuZstd,
  qemuRebase,
  mapScript,
  xdelta,
  resticAuto,
  borgLz4,
  casync,
];

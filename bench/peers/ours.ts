import type { Peer } from './peer.ts';

const store = '--store "$W/store" --json';
// The name of an image is that of its file, so the restored one is renamed to what all use.
const pick = (id: string, image: string) =>
  `"$MANO" unpack ${id} ${store} --to "$W/back" && mv "$W/back/$(basename "$${image}")" "$W/back/image"`;

function ours(id: string, title: string, options: string, needs: string[] = []): Peer {
  const pack = (packId: string, image: string, more = '') =>
    `"$MANO" pack "$${image}" ${store} --format raw --id ${packId} ${more} ${options}`;
  return {
    id,
    title,
    isOurs: true,
    needs,
    pack: pack('first', 'IMAGE'),
    unpack: pick('first', 'IMAGE'),
    verify: `"$MANO" verify ${store}`,
    next: {
      needsPack: true,
      pack: pack('second', 'NEXT', '--parent first'),
      unpack: pick('second', 'NEXT'),
    },
    pair: {
      pack: `"$MANO" pack "$IMAGE" "$OTHER" ${store} --format raw --id pair ${options}`,
      unpack: `name=$(basename "$OTHER"); "$MANO" unpack pair ${store} --to "$W/back" --image "$name" && mv "$W/back/$name" "$W/back/image"`,
    },
  };
}

/** Ours, as a command that is started for each run. */
export const mano = ours('mano', 'Micromano', '');
export const manoOneWorker = ours('mano-1-worker', 'Micromano, 1 worker', '--workers 1', [
  'mano pack --workers',
]);
export const manoTwoWorkers = ours('mano-2-workers', 'Micromano, 2 workers', '--workers 2', [
  'mano pack --workers',
]);
export const manoZstd = ours('mano-zstd', 'Micromano, zstd', '--compression zstd', [
  'mano pack --compression',
]);

/** Ours in an increment, with what it may know of the change. */
export const manoPlain = nextWith('mano-no-delta', 'Micromano, no deltas', '--no-delta', [
  'mano pack --no-delta',
]);
export const manoParentImage = nextWith(
  'mano-parent-image',
  'Micromano, old image at hand',
  '--parent-image "$IMAGE"',
  ['mano pack --parent-image'],
);
export const manoMap = nextWith('mano-map', 'Micromano, changed-block map', '--changed-map "$MAP"');

function nextWith(id: string, title: string, option: string, needs: string[] = []): Peer {
  return {
    id,
    title,
    isOurs: true,
    needs,
    pack: mano.pack!,
    sharesPackOf: mano.id,
    next: { ...mano.next!, pack: `${mano.next!.pack} ${option}` },
  };
}

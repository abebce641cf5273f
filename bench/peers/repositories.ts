/** Peers that keep versions in a repository. Their caches lie beside it, in `$W`. */
import type { Peer } from './peer.ts';

// The same path for every version, as a backup of one disk has. A link, where the folders allow one.
const source = (image: string, name = 'image') =>
  `mkdir -p "$W/source"; ln -f "$${image}" "$W/source/${name}" 2>"$W/log" || cp --sparse=always "$${image}" "$W/source/${name}"`;
const bothSources = `${source('IMAGE')}; ${source('OTHER', 'other')}`;

const restic = 'RESTIC_PASSWORD=bench restic -q --cache-dir "$W/cache" -r "$W/repository"';
const resticBackup = `${restic} backup --compression auto "$W/source"`;
// Within a snapshot the paths are those of the time of the backup.
const resticRestore = (name: string) =>
  `${restic} restore latest --target "$W/back" --include ${name}; mv "$(find "$W/back" -name ${name})" "$W/back/restored"; mv "$W/back/restored" "$W/back/image"; sync "$W/back/image"`;

export const resticAuto: Peer = {
  id: 'restic',
  title: '`restic backup` (auto)',
  needs: ['restic'],
  prepare: `${restic} init; ${source('IMAGE')}`,
  pack: resticBackup,
  unpack: resticRestore('image'),
  verify: `${restic} check --read-data`,
  next: {
    needsPack: true,
    prepare: source('NEXT'),
    pack: resticBackup,
    unpack: resticRestore('image'),
  },
  pair: {
    pack: `${restic} init; ${bothSources}; ${resticBackup}`,
    unpack: resticRestore('other'),
  },
};

const borg =
  'BORG_BASE_DIR="$W/borg" BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes BORG_RELOCATED_REPO_ACCESS_IS_OK=yes borg';
const borgCreate = (archive: string) =>
  `cd "$W/source"; ${borg} create -C lz4 --chunker-params fixed,4194304 "$W/repository::${archive}" .`;
const borgExtract = (archive: string, name: string) =>
  `mkdir "$W/back"; cd "$W/back"; ${borg} extract --sparse "$W/repository::${archive}" ${name}; [ ${name} = image ] || mv ${name} image; sync image`;

export const borgLz4: Peer = {
  id: 'borg',
  title: '`borg create -C lz4`, fixed 4 MiB',
  needs: ['borg'],
  prepare: `${borg} init -e none "$W/repository"; ${source('IMAGE')}`,
  pack: borgCreate('first'),
  unpack: borgExtract('first', 'image'),
  verify: `${borg} check --verify-data "$W/repository"`,
  next: {
    needsPack: true,
    prepare: source('NEXT'),
    pack: borgCreate('second'),
    unpack: borgExtract('second', 'image'),
  },
  pair: {
    pack: `${borg} init -e none "$W/repository"; ${bothSources}; ${borgCreate('pair')}`,
    unpack: borgExtract('pair', 'other'),
  },
};

const casyncMake = (image: string, index: string) =>
  `casync make --store="$W/store.castr" "$W/${index}.caibx" "$${image}" >"$W/log"; find "$W/store.castr" "$W/${index}.caibx" -type f -exec sync {} +`;
const casyncExtract = (index: string) =>
  `mkdir "$W/back"; casync extract --store="$W/store.castr" "$W/${index}.caibx" "$W/back/image"; sync "$W/back/image"`;

export const casync: Peer = {
  id: 'casync',
  title: '`casync make`',
  needs: ['casync'],
  roundsMax: 1,
  prepare: 'mkdir "$W/store.castr"',
  pack: casyncMake('IMAGE', 'first'),
  unpack: casyncExtract('first'),
  next: {
    needsPack: true,
    pack: casyncMake('NEXT', 'second'),
    unpack: casyncExtract('second'),
  },
};

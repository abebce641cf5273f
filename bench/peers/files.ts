/** Peers that make one file of one image. */
import type { Peer } from './peer.ts';

const lz4Unpack =
  'mkdir "$W/back"; lz4 -d -q -f --sparse "$W/out" "$W/back/image"; sync "$W/back/image"';

export const lz4: Peer = {
  id: 'lz4',
  title: '`lz4 -1`',
  needs: ['lz4'],
  pack: 'lz4 -1 -q -f "$IMAGE" "$W/out"; sync "$W/out"',
  unpack: lz4Unpack,
  verify: 'lz4 -t -q "$W/out"',
};

export const lz4Unchecked: Peer = {
  id: 'lz4-unchecked',
  title: '`lz4 -1 -B4 -BI --no-frame-crc`',
  needs: ['lz4'],
  pack: 'lz4 -1 -B4 -BI --no-frame-crc -q -f "$IMAGE" "$W/out"; sync "$W/out"',
  unpack: lz4Unpack,
};

export const zstd: Peer = {
  id: 'zstd',
  title: '`zstd -1 -T2`',
  needs: ['zstd'],
  pack: 'zstd -1 -T2 -q -f "$IMAGE" -o "$W/out"; sync "$W/out"',
  unpack:
    'mkdir "$W/back"; zstd -d -q -f --sparse "$W/out" -o "$W/back/image"; sync "$W/back/image"',
  verify: 'zstd -t -q "$W/out"',
};

export const qemuZstd: Peer = {
  id: 'qemu-zstd',
  title: '`qemu-img convert -c` zstd `-W -m16`',
  needs: ['qemu-img'],
  pack: 'qemu-img convert -f raw -O qcow2 -c -W -m 16 -o compression_type=zstd "$IMAGE" "$W/out"; sync "$W/out"',
  unpack:
    'mkdir "$W/back"; qemu-img convert -f qcow2 -O raw -m 16 -W "$W/out" "$W/back/image"; sync "$W/back/image"',
};

/** The overlay is made of what differs between two images that are both at hand. */
export const qemuRebase: Peer = {
  id: 'qemu-rebase',
  title: '`qemu-img rebase` + `lz4 -1`',
  needs: ['qemu-img', 'lz4'],
  next: {
    needsPack: false,
    prepare: 'qemu-img create -q -f qcow2 -b "$NEXT" -F raw "$W/overlay"',
    pack: 'qemu-img rebase -f qcow2 -b "$IMAGE" -F raw "$W/overlay"; lz4 -1 -q -f "$W/overlay" "$W/out"; rm "$W/overlay"; sync "$W/out"',
    unpack:
      'lz4 -d -q -f "$W/out" "$W/overlay"; mkdir "$W/back"; qemu-img convert -f qcow2 -O raw "$W/overlay" "$W/back/image"',
  },
};

export const xdelta: Peer = {
  id: 'xdelta3',
  title: '`xdelta3 -1`',
  needs: ['xdelta3'],
  roundsMax: 2,
  next: {
    needsPack: false,
    pack: 'xdelta3 -e -1 -f -q -B 67108864 -s "$IMAGE" "$NEXT" "$W/out"; sync "$W/out"',
    unpack: 'mkdir "$W/back"; xdelta3 -d -f -q -B 67108864 -s "$IMAGE" "$W/out" "$W/back/image"',
  },
};

/** What a script of an afternoon does: compresses the dirty extents; hashes and verifies nothing. */
export const mapScript: Peer = {
  id: 'map-script',
  title: 'Python `lz4` over the map',
  needs: ['python3-lz4'],
  next: {
    needsPack: false,
    pack: '/usr/bin/python3 "$BENCH/peers/changed_blocks.py" pack "$NEXT" "$MAP" "$W/out"; sync "$W/out"',
    unpack:
      'mkdir "$W/back"; cp --sparse=always "$IMAGE" "$W/back/image"; /usr/bin/python3 "$BENCH/peers/changed_blocks.py" unpack "$W/out" "$W/back/image"',
  },
};

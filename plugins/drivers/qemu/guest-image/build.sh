#!/bin/sh
# Builds the demo guest for QEMU: kernel, initramfs, root disk and an empty data disk. Skips what is up to date.
# usage: build.sh [--check]     --check only says (exit code) whether the image is there and up to date
# Output: $MICROMANO_CACHE/guest-image, or build/guest-image in the project. Needs no root; the kernel package comes
# from the distribution's mirror with `apt-get download`.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
project=$(CDPATH='' cd -- "$here/../../../.." && pwd)
output="${MICROMANO_CACHE:-$project/build}/guest-image"
PATH="$PATH:/usr/sbin:/sbin"

wanted=$(find "$here" -type f | LC_ALL=C sort | xargs cat | cksum)
up_to_date() { [ "$(cat "$output/stamp" 2>/dev/null)" = "$wanted" ] && [ -e "$output/demo-guest.json" ]; }
if up_to_date; then exit 0; fi

# One install line for all that is missing, instead of one failure after the other.
packages=""
need() { command -v "$1" >/dev/null 2>&1 || packages="$packages $2"; }
need busybox busybox-static
need qemu-img qemu-utils
need qemu-ga qemu-guest-agent
need modprobe kmod
need cpio cpio
need mkfs.ext4 e2fsprogs
need perl perl-base
need apt-get apt
if [ -n "$packages" ]; then
  echo "guest image: missing packages:$packages; run: apt-get install --no-install-recommends$packages" >&2
  exit 69
fi

if [ "${1:-}" = --check ]; then exit 1; fi

mkdir -p "$output"
exec 9>"$output/lock"
flock 9
if up_to_date; then exit 0; fi
work="$output/work.tmp"
rm -rf "$work"
mkdir -p "$work"
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"

fetch_kernel() {
  [ -e "$output/demo-guest-vmlinuz" ] && [ -d "$output/modules/lib/modules" ] && return
  name=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image-[0-9]/ {print $2; exit}')
  [ -n "$name" ] || { echo "guest image: apt knows no linux-image-cloud-amd64; run: apt-get update" >&2; exit 69; }
  (cd "$work" && apt-get download "$name" >download.log 2>&1) || {
    echo "guest image: apt-get download $name failed:" >&2
    cat "$work/download.log" >&2
    exit 69
  }
  dpkg-deb -x "$work/$name"_*.deb "$work/kernel"
  rm -rf "$output/modules"
  mkdir -p "$output/modules/lib"
  mv "$work/kernel/lib/modules" "$output/modules/lib/modules"
  mv "$work"/kernel/boot/vmlinuz-* "$output/demo-guest-vmlinuz"
}

build_initramfs() {
  version=$(ls "$output/modules/lib/modules")
  depmod -b "$output/modules" "$version"
  tree="$work/initramfs"
  mkdir -p "$tree/bin" "$tree/proc" "$tree/sys" "$tree/dev" "$tree/newroot" "$tree/lib/modules"
  cp "$(command -v busybox)" "$tree/bin/busybox"
  cp "$here/initramfs/init" "$tree/init"
  chmod 755 "$tree/init"
  : >"$tree/modlist"
  for module in virtio_pci virtio_blk virtio_console virtio_net virtio_rng af_packet ext4 button evdev; do
    modprobe -d "$output/modules" -S "$version" --show-depends "$module" 2>/dev/null |
      awk '/^insmod/ {print $2}' |
      while read -r file; do
        [ -e "$tree/lib/modules/${file##*/}" ] && continue
        cp "$file" "$tree/lib/modules/"
        echo "${file##*/}" >>"$tree/modlist"
      done
  done
  (cd "$tree" && find . | LC_ALL=C sort | cpio -o -H newc --quiet | gzip -1) >"$work/initrd.gz"
}

# Copies a program and the shared libraries it names into the root tree.
add_program() {
  install -D "$1" "$tree$2"
  ldd "$1" | grep -o '/[^ ]*' | while read -r library; do
    [ -e "$tree$library" ] || install -D "$(readlink -f "$library")" "$tree$library"
  done
}

build_root_disk() {
  tree="$work/root"
  mkdir -p "$tree"
  for folder in bin sbin etc proc sys dev tmp run var/log usr/sbin usr/bin lib data root; do mkdir -p "$tree/$folder"; done
  cp "$(command -v busybox)" "$tree/bin/busybox"
  for applet in sh ls cat mount umount mkdir sync sleep dd echo ps ifconfig md5sum sha256sum touch usleep fsfreeze \
    date kill nc mkfs.ext2 grep cut sed awk hostname ip dmesg rm mv cp ln df head tail wc; do
    ln -s busybox "$tree/bin/$applet"
  done
  for applet in init poweroff halt reboot; do ln -s ../bin/busybox "$tree/sbin/$applet"; done
  ln -s /run "$tree/var/run"
  cp -R "$here/root/." "$tree/"
  chmod 755 "$tree/etc/rc" "$tree/etc/power-button" "$tree/sbin/shutdown" "$tree/usr/sbin/micromano-vnf"
  add_program "$(command -v qemu-ga)" /usr/sbin/qemu-ga
  add_program "$(readlink -f "$(command -v perl)")" /usr/bin/perl
  dpkg -L perl-base | grep '/perl-base/' | grep -v /unicore/ | while read -r file; do
    [ -f "$file" ] && install -D -m 644 "$file" "$tree$file"
  done
  echo 'root:x:0:0:root:/root:/bin/sh' >"$tree/etc/passwd"
  echo 'root:x:0:' >"$tree/etc/group"
  truncate -s 256M "$work/root.raw"
  mkfs.ext4 -q -F -E root_owner=0:0 -L root -d "$tree" "$work/root.raw"
  qemu-img convert -O qcow2 "$work/root.raw" "$work/root.qcow2"
}

build_data_disk() {
  truncate -s 64M "$work/data.raw"
  mkfs.ext4 -q -F -L data "$work/data.raw"
  qemu-img convert -O qcow2 "$work/data.raw" "$work/data.qcow2"
}

echo "guest image: building into $output" >&2
fetch_kernel
build_initramfs
build_root_disk
build_data_disk
sync
rm -f "$output/stamp"
mv "$work/initrd.gz" "$output/demo-guest-initrd.gz"
mv "$work/root.qcow2" "$output/demo-guest-root.qcow2"
mv "$work/data.qcow2" "$output/demo-guest-data.qcow2"
cp "$here/demo-guest.json" "$output/demo-guest.json"
printf '%s' "$wanted" >"$output/stamp"

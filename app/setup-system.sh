#!/bin/sh
# Installs what the QEMU driver and its tests need, and builds the guest image. Debian, as root.
# usage: setup-system.sh [--list] [--bench]     --bench: also the peers of the benchmark and what builds its corpus
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)

# One list for people, for this script and for the error messages of the demo.
packages="qemu-system-x86 qemu-utils qemu-guest-agent busybox-static libnbd-bin e2fsprogs cpio kmod seabios \
lz4 unzip zip openssl protobuf-compiler protobuf-compiler-grpc libprotobuf-dev python3-grpcio python3-protobuf"
bench_packages="time zstd restic borgbackup casync xdelta3 python3-lz4 debootstrap git util-linux"

for option in "$@"; do
  [ "$option" = --bench ] && packages="$packages $bench_packages"
done
if [ "${1:-}" = --list ]; then
  echo "$packages"
  exit 0
fi
missing=$(for package in $packages; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || printf '%s ' "$package"
done)
if [ "${1:-}" = --missing ]; then
  echo "$missing"
  exit 0
fi
if [ -n "$missing" ]; then
  if [ "$(id -u)" != 0 ]; then
    echo "mano: these packages are missing: $missing" >&2
    echo "mano: run as root: apt-get install --no-install-recommends $missing" >&2
    exit 77
  fi
  echo "mano: installing $missing" >&2
  export DEBIAN_FRONTEND=noninteractive
  apt-get -o DPkg::Lock::Timeout=600 update -qq >&2
  # shellcheck disable=SC2086
  apt-get -o DPkg::Lock::Timeout=600 install -y -qq --no-install-recommends $missing >&2
fi
sh "$root/plugins/drivers/qemu/guest-image/build.sh" >&2
echo "mano: the system is ready for the QEMU driver" >&2

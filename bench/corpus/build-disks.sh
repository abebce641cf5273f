#!/bin/sh
# Builds the disks of the benchmark: v1.raw, a Linux file system, and v2.raw, the same after changes made by programs.
# usage: build-disks.sh OUTPUT     Debian, root, a mirror of Debian; about 10 minutes and 6 GiB. README.md says what is in them.
set -eu
export LC_ALL=C SOURCE_DATE_EPOCH=1700000000 E2FSPROGS_FAKE_TIME=1700000000 DEBIAN_FRONTEND=noninteractive
PATH="$PATH:/usr/sbin:/sbin"
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
output=$1
# The mirror that this machine takes its own packages from.
mirror=${MICROMANO_DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' "Codename: bookworm" | head -n 1)}
suite=bookworm
size=2G
uuid=6d6963726f6d616e6f2d62656e6368aa
uuid=$(echo "$uuid" | sed -E 's/(.{8})(.{4})(.{4})(.{4})(.{12})/\1-\2-\3-\4-\5/')

mkdir -p "$output"
work=$(mktemp -d "$output/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
chmod 755 "$work"

# Mounts and processes of these scripts end with their namespaces, however the scripts end.
inside() { unshare --mount --pid --fork --kill-child sh "$here/$1" "$2" "$mirror" "$suite"; }

echo "corpus: installing a $suite file system" >&2
inside fill-tree.sh "$work/tree" >"$work/tree.log" 2>&1 || { tail -n 20 "$work/tree.log" >&2; exit 1; }
echo "corpus: making v1.raw" >&2
truncate -s "$size" "$work/v1.raw"
mkfs.ext4 -q -F -U "$uuid" -E "hash_seed=$uuid,lazy_itable_init=0,lazy_journal_init=0" -d "$work/tree" "$work/v1.raw"
dpkg-query --admindir="$work/tree/var/lib/dpkg" -W >"$work/v1.packages"
rm -rf "$work/tree"

echo "corpus: changing it into v2.raw" >&2
cp --sparse=always "$work/v1.raw" "$work/v2.raw"
inside change-disk.sh "$work/v2.raw" >"$work/change.log" 2>&1 || { tail -n 20 "$work/change.log" >&2; exit 1; }
sync "$work/v1.raw" "$work/v2.raw"
# Copied once more, so that unused parts of both are holes in the same way.
cp --sparse=always "$work/v2.raw" "$work/v2.sparse"
mv "$work/v2.sparse" "$output/v2.raw"
mv "$work/v1.packages" "$output/v1.packages"
mv "$work/v1.raw" "$output/v1.raw"

#!/bin/sh
# Fills a folder with a Debian of its own: servers, tools, a database with content, a git repository.
# usage: fill-tree.sh FOLDER MIRROR SUITE     in mount and process namespaces of its own
set -eu
tree=$1
mirror=$2
suite=$3
packages="postgresql git nginx-light build-essential python3 vim ca-certificates iproute2 procps logrotate rsyslog strace"

debootstrap --variant=minbase "$suite" "$tree" "$mirror"
mount -t proc proc "$tree/proc"
mount --bind /dev "$tree/dev"
cp /etc/resolv.conf "$tree/etc/resolv.conf"

# A daemon that an installation starts would run outside of the script's control.
printf '#!/bin/sh\nexit 101\n' >"$tree/usr/sbin/policy-rc.d"
chmod 755 "$tree/usr/sbin/policy-rc.d"

# shellcheck disable=SC2086
chroot "$tree" apt-get install -y -qq --no-install-recommends $packages
chroot "$tree" apt-get clean
chroot "$tree" sh -eu <<'INSIDE'
export LC_ALL=C
cluster=/etc/postgresql/15/main
echo "fsync = off
full_page_writes = on
dynamic_shared_memory_type = mmap" >>$cluster/postgresql.conf
pg_ctlcluster 15 main start
su postgres -c 'createdb bench && pgbench --quiet --initialize --scale 6 bench'
pg_ctlcluster 15 main stop
sed -i '/^fsync = off/d' $cluster/postgresql.conf
mkdir -p /srv/repository
cp -r /etc /usr/share/perl5 /srv/repository/
cd /srv/repository
git init -q
git config user.name bench
git config user.email bench@localhost
export GIT_AUTHOR_DATE='1700000000 +0000' GIT_COMMITTER_DATE='1700000000 +0000'
git add .
git commit -q -m 'The start'
INSIDE
rm -rf "$tree/tmp/"* "$tree/run/"* "$tree/etc/resolv.conf"
umount "$tree/dev" "$tree/proc"
# One time for all: the order of installing must not show.
find "$tree" -xdev -newermt "@$SOURCE_DATE_EPOCH" -print0 | xargs -0 touch --no-dereference --date="@$SOURCE_DATE_EPOCH"

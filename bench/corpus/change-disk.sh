#!/bin/sh
# Changes a disk as a week of use does: packages, a database under load, commits, logs. Seeds are fixed.
# usage: change-disk.sh IMAGE     in mount and process namespaces of its own
set -eu
image=$1
folder="$image.mount"
mkdir "$folder"
mount -o loop "$image" "$folder"
mount -t proc proc "$folder/proc"
mount --bind /dev "$folder/dev"
cp /etc/resolv.conf "$folder/etc/resolv.conf"

chroot "$folder" sh -eu <<'INSIDE'
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
apt-get install -y -qq --no-install-recommends redis-server sqlite3 tcpdump tmux rsync
apt-get purge -y -qq strace
apt-get clean
pg_ctlcluster 15 main start
su postgres -c 'pgbench --no-vacuum --client 4 --random-seed 42 --transactions 500 bench'
su postgres -c 'psql -q -c checkpoint bench'
pg_ctlcluster 15 main stop
cd /srv/repository
for number in 1 2 3 4 5 6 7 8 9 10; do
  export GIT_AUTHOR_DATE="$((1700000000 + number * 3600)) +0000"
  export GIT_COMMITTER_DATE="$GIT_AUTHOR_DATE"
  find etc -name '*.conf' | sort | awk -v n="$number" 'NR % 10 == n % 10' | while read -r file; do
    echo "# change $number" >>"$file"
  done
  git commit -q -a -m "Change $number"
done
awk 'BEGIN {
  srand(42)
  for (line = 0; line < 60000; line++)
    printf "10.0.%d.%d - - [%d] \"GET /item/%d HTTP/1.1\" 200 %d \"-\" \"client/%d\"\n",
      rand() * 256, rand() * 256, 1700000000 + line, rand() * 100000, rand() * 65536, rand() * 9
}' >>/var/log/nginx/access.log
awk 'BEGIN { for (line = 0; line < 20000; line++) printf "<30>daemon[%d]: event %d\n", line % 997, line }' >>/var/log/syslog
INSIDE
umount "$folder/dev" "$folder/proc" "$folder"
rmdir "$folder"

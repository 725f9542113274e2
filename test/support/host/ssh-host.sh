#!/bin/bash
# A host of its own inside a mount and a PID namespace: accounts, /etc, /run and /srv of its own, nothing of it left at the end.
# Started by ssh-host.ts as: unshare … bash ssh-host.sh WORK NODE DIST ACCOUNT:UID:GROUPS…
set -eu
work=$1 node=$2 dist=$3
shift 3

mount -t tmpfs -o mode=0755 none "$work/mount"
cd "$work/mount"
over() { # a writable copy of a directory, in memory
  local name=${1//\//_}
  mkdir -p "upper$name" "work$name"
  chmod --reference="$1" "upper$name"
  mount -t overlay overlay -o "lowerdir=$1,upperdir=$PWD/upper$name,workdir=$PWD/work$name" "$1"
}
over /etc
over /var/lib
over /usr/local
for directory in /run /srv /home /mnt /var/tmp; do mount -t tmpfs -o mode=0755 none "$directory"; done
mkdir -p -m 0755 /run/sshd /srv/program/dist /etc/test-keys
touch /srv/program/node
mount --bind "$node" /srv/program/node
mount --bind "$dist" /srv/program/dist
rm -rf /etc/comfylet

# No account of ours may be one of the machine.
sed -i '/^comfylet:/d' /etc/passwd /etc/group /etc/shadow
add_group() { grep -q "^$1:" /etc/group || echo "$1:x:$2:" >> /etc/group; }
for account in "$@"; do
  IFS=: read -r name uid groups <<< "$account"
  sed -i "/^$name:/d" /etc/passwd /etc/shadow
  add_group "$name" "$uid"
  echo "$name:x:$uid:$uid:test:/home/$name:/bin/bash" >> /etc/passwd
  echo "$name:*:19000:0:99999:7:::" >> /etc/shadow
  for group in ${groups//,/ }; do
    add_group "$group" $((uid + 1000))
    sed -i "s/^\($group:x:[0-9]*:\)\(.*\)$/\1\2,$name/; s/^\($group:x:[0-9]*:\),/\1/" /etc/group
  done
  mkdir -m 0750 "/home/$name"
  chown "$uid:$uid" "/home/$name"
  cp "$work/key.pub" "/etc/test-keys/$name"
done
cp "$work/key.pub" /etc/test-keys/root
chmod 0644 /etc/test-keys/*

echo ready > "$work/ready"
exec /usr/sbin/sshd -D -e -f "$work/sshd_config"

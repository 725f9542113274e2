#!/bin/bash
# Makes a clean Debian root to boot in a mount namespace of its own, and holds it until its input ends: the smallest set of
# packages and systemd, in memory. $1: directory for the mounts, $2: suite, $3: mirror, $4: a tree made before, to be taken
# instead (empty: none), $5: comma-separated host=root pairs to show in it.
set -eu
base=$1
. "${BASH_SOURCE%/*}/show-in-root.sh"

# The way to the mirror that the apt of this machine goes, in here and later in the root.
bootstrap() {
  local proxy=
  eval "$(apt-config shell proxy Acquire::http::Proxy)"
  http_proxy=$proxy /usr/sbin/debootstrap --variant=minbase --include=systemd,systemd-sysv "$1" "$base/root" "$2" || return
  [ -z "$proxy" ] || echo "Acquire::http::Proxy \"$proxy\";" >"$base/root/etc/apt/apt.conf.d/90proxy"
}

# In memory dpkg waits for no disk.
mount -t tmpfs -o mode=0755 tmpfs "$base"
mkdir "$base/root"
if [ -n "$4" ]; then
  mkdir "$base/upper" "$base/work"
  mount -t overlay -o "lowerdir=$4,upperdir=$base/upper,workdir=$base/work" overlay "$base/root"
elif ! bootstrap "$2" "$3" >"$base/log" 2>&1; then
  echo "debootstrap $2 from $3 failed:" >&2
  tail -n 20 "$base/log" >&2
  exit 1
fi
show_in_root "$base/root" "$5"
echo ready
cat >/dev/null

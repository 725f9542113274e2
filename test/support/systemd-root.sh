#!/bin/bash
# Makes a root to boot in a mount namespace of its own, and holds it until its input ends: an overlay on this machine's root
# with everything written to a tmpfs. $1: directory for the mounts, $2: comma-separated host=root pairs to show in it.
set -eu
base=$1
mount -t tmpfs -o mode=0755 tmpfs "$base"
mkdir "$base/upper" "$base/work" "$base/root"
mount -t overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" overlay "$base/root"
IFS=,
for pair in $2; do
  target=$base/root${pair#*=}
  if [ -d "${pair%%=*}" ]; then mkdir -p "$target"; else mkdir -p "${target%/*}" && touch "$target"; fi
  mount --bind "${pair%%=*}" "$target"
done
echo ready
cat >/dev/null

#!/bin/bash
# Makes a root to boot in a mount namespace of its own, and holds it until its input ends: an overlay on this machine's root
# with everything written to a tmpfs. $1: directory for the mounts, $2: comma-separated host=root pairs to show in it.
set -eu
base=$1
. "${BASH_SOURCE%/*}/show-in-root.sh"
mount -t tmpfs -o mode=0755 tmpfs "$base"
mkdir "$base/upper" "$base/work" "$base/root"
mount -t overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" overlay "$base/root"
show_in_root "$base/root" "$2"
echo ready
cat >/dev/null

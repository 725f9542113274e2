#!/bin/sh
# Makes this machine run comfylet. Usage: install.sh [--binary FILE] [--no-systemd] [options of `agent setup`]
#        install.sh uninstall [options of `agent setup --uninstall`]
# The binary is the file `agent` beside this script unless --binary names another.
set -eu

# Programs of the system only, whatever the caller's PATH says.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
umask 022

OLDEST_GLIBC=2.28

fail() {
  printf 'error: %s\n' "$1" >&2
  printf 'help: %s\n' "$2" >&2
  exit "${3:-1}"
}

here=$(cd "$(dirname "$0")" 2>/dev/null && pwd -P) || here=.
binary=
no_systemd=no
uninstall=no
dry_run=no
no_start=no

if [ "${1:-}" = uninstall ]; then
  uninstall=yes
  shift
fi

# What is ours is taken out; the rest goes to `agent setup` as it stands.
count=$#
while [ "$count" -gt 0 ]; do
  argument=$1
  shift
  count=$((count - 1))
  case $argument in
    --binary)
      [ "$count" -gt 0 ] || fail '--binary needs a file' 'run it as --binary /path/to/agent' 2
      binary=$1
      shift
      count=$((count - 1))
      ;;
    --binary=*) binary=${argument#--binary=} ;;
    --no-systemd) no_systemd=yes ;;
    *)
      case $argument in
        --dry-run) dry_run=yes ;;
        --no-start) no_start=yes ;;
        --help | -h)
          sed -n '2,4s/^# //p' "$0"
          exit 0
          ;;
      esac
      set -- "$@" "$argument"
      ;;
  esac
done

if [ -z "$binary" ]; then
  if [ -f "$here/agent" ]; then
    binary=$here/agent
  elif [ "$uninstall" = yes ] && [ -f /usr/local/bin/agent ]; then
    binary=/usr/local/bin/agent
  else
    fail "there is no file agent beside this script ($here)" 'put it there, or name it with --binary FILE'
  fi
fi
[ -f "$binary" ] || fail "$binary does not exist" 'name the binary with --binary FILE'

[ "$(uname -s)" = Linux ] || fail "this is $(uname -s); the agent runs on Linux" 'use a Linux machine'

# The machine in the ELF header: two bytes at 18. A script has none, and says by itself what it needs.
if [ "$(head -c 4 "$binary" | od -An -c | tr -d ' \n')" = '177ELF' ]; then
  case $(od -An -tx1 -j18 -N2 "$binary" | tr -d ' \n') in
    3e00) made_for=x86_64 ;;
    b700) made_for=aarch64 ;;
    *) made_for=another ;;
  esac
  machine=$(uname -m)
  [ "$machine" = arm64 ] && machine=aarch64
  [ "$machine" = "$made_for" ] || fail "$binary is made for $made_for, this machine is $machine" "take the binary for $machine"

  glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null | sed -n 's/^glibc //p') || glibc=
  [ -n "$glibc" ] || fail 'the C library of this machine is not glibc' "use a system with glibc $OLDEST_GLIBC or newer (Debian 10, Ubuntu 20.04)"
  oldest=$(printf '%s\n%s\n' "$OLDEST_GLIBC" "$glibc" | sort -t. -k1,1n -k2,2n | head -n 1)
  [ "$oldest" = "$OLDEST_GLIBC" ] || fail "glibc is $glibc; the agent needs $OLDEST_GLIBC" 'use Debian 10, Ubuntu 20.04 or newer'
fi

# A checksum that came with the binary finds a damaged copy, not a forged one.
sums=$(dirname "$binary")/SHA256SUMS
if [ -f "$sums" ]; then
  name=$(basename "$binary")
  wanted=$(awk -v name="$name" '$2 == name || $2 == "*" name { print $1; exit }' "$sums")
  if [ -n "$wanted" ]; then
    found=$(sha256sum <"$binary" | cut -d ' ' -f 1)
    [ "$wanted" = "$found" ] || fail "$binary is damaged: its sha256 is $found, $sums says $wanted" 'copy it again'
  fi
fi

[ "$(id -u)" = 0 ] || fail 'setting up a machine needs root rights' "run: sudo sh $0"

if [ "$uninstall" = no ] && [ ! -d /run/systemd/system ] && [ "$dry_run" = no ] && [ "$no_start" = no ]; then
  cat >&2 <<'END'
This machine does not run systemd, so nobody would start the agent or start it again.
In a container make it the entry point, under an init that reaps what ComfyUI leaves behind:

    ENTRYPOINT ["/usr/bin/tini", "--", "/usr/local/bin/agent", "run"]

`docker run --init` brings one, too. SIGTERM drains: give it time (docker stop -t 60, terminationGracePeriodSeconds: 60),
and tell the agent how much with AGENT_STOP_GRACE=55s.
END
  [ "$no_systemd" = yes ] || exit 1
  exit 0
fi

# Some archives bring it without its mode.
if [ ! -x "$binary" ]; then
  chmod +x "$binary" 2>/dev/null || fail "$binary cannot be run" "run: chmod +x $binary"
fi
if ! said=$("$binary" --version 2>&1); then
  said=$(printf '%s\n' "$said" | head -n 1)
  case $said in
    *shared\ libraries*libstdc*) fail "$binary does not start: $said" 'install the C++ library (apt-get install libstdc++6)' ;;
    *ermission\ denied*) fail "$binary lies on a filesystem that runs no programs (noexec)" "copy it elsewhere, for example to /root" ;;
    *) fail "$binary does not start: $said" 'copy it again' ;;
  esac
fi
if [ "$uninstall" = yes ]; then
  exec "$binary" setup --uninstall "$@"
fi
exec "$binary" setup "$@"

# show_in_root ROOT PAIRS: binds directories of this machine into a root, and files so that nobody writes to them; PAIRS are
# host=root, comma-separated.
show_in_root() {
  local pair target pairs
  IFS=, read -r -a pairs <<<"$2"
  for pair in "${pairs[@]}"; do
    target=$1${pair#*=}
    if [ -d "${pair%%=*}" ]; then mkdir -p "$target"; else mkdir -p "${target%/*}" && touch "$target"; fi
    mount --bind "${pair%%=*}" "$target"
    [ -d "$target" ] || mount -o remount,bind,ro "$target"
  done
}

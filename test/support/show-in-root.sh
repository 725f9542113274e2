# show_in_root ROOT PAIRS: binds files and directories of this machine into a root; PAIRS are host=root, comma-separated.
show_in_root() {
  local pair target pairs
  IFS=, read -r -a pairs <<<"$2"
  for pair in "${pairs[@]}"; do
    target=$1${pair#*=}
    if [ -d "${pair%%=*}" ]; then mkdir -p "$target"; else mkdir -p "${target%/*}" && touch "$target"; fi
    mount --bind "${pair%%=*}" "$target"
  done
}

# Sourced from the repository root: installs the npm packages of the lock file when they are not there yet.
command -v npm >/dev/null 2>&1 || { echo "error: npm was not found; install Node 20 or newer with npm" >&2; exit 1; }
if ! [ -x node_modules/.bin/node ] || ! cmp -s package-lock.json node_modules/.comfylet-lock; then
  echo "installing npm packages (about 30 s)" >&2
  npm ci --no-audit --no-fund --loglevel=error >&2
  cp package-lock.json node_modules/.comfylet-lock
fi

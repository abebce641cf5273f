#!/bin/sh
# Makes a clone ready to run: dependencies, generated code, WebAssembly. A step whose inputs did not change is skipped.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"

command -v npm >/dev/null || {
  echo "mano: npm is missing; on Debian: apt-get install --no-install-recommends nodejs npm" >&2
  exit 69
}

# $1: name of the step, $2: digest of its inputs. True when the step has to run.
stale() { [ "$(cat "build/$1.stamp" 2>/dev/null)" != "$2" ]; }
done_with() { mkdir -p build && printf '%s' "$2" >"build/$1.stamp"; }
digest() { find "$@" -type f | LC_ALL=C sort | xargs cat | cksum; }

# One set-up at a time: two commands started together must not install into one folder.
mkdir -p build
exec 9>build/setup.lock
flock 9

wanted=$(cksum <package-lock.json)
if [ ! -x node_modules/.bin/node ] || stale dependencies "$wanted"; then
  echo "mano: installing dependencies" >&2
  npm ci --no-fund --no-audit --loglevel=error >&2
  done_with dependencies "$wanted"
fi
PATH="$root/node_modules/.bin:$PATH"
wanted=$(digest proto buf.gen.yaml buf.yaml)
if [ ! -d gen ] || stale gen "$wanted"; then
  echo "mano: generating code from the protos" >&2
  # Aside first, because a command that runs now may still load the code of before.
  rm -rf build/generated
  buf generate -o build/generated
  buf build -o build/generated/gen/descriptors.binpb
  rm -rf gen
  mv build/generated/gen gen
  done_with gen "$wanted"
fi
for source in wasm/assembly plugins/drivers/wasmvm/guests; do
  [ -f "$source/build.sh" ] || continue
  step=$(printf '%s' "$source" | tr / -)
  wanted=$(digest "$source")
  if stale "$step" "$wanted"; then
    echo "mano: building $source" >&2
    sh "$source/build.sh"
    done_with "$step" "$wanted"
  fi
done

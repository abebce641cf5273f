#!/bin/sh
# Builds build/guests/*.wasm. Runs from the project root, with node_modules/.bin in PATH.
# `--runtime stub` without allocations and without module-level `let`: a guest of the wasmvm driver
# keeps all its state in linear memory, because nobody outside can see a mutable global that is not
# exported.
set -eu
mkdir -p build/guests
for guest in gateway database; do
  asc "plugins/drivers/wasmvm/guests/$guest.ts" --outFile "build/guests/$guest.wasm.tmp" \
    -O3 --noAssert --runtime stub --initialMemory 32 --use abort=
  mv "build/guests/$guest.wasm.tmp" "build/guests/$guest.wasm"
done

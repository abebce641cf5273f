#!/bin/sh
# Builds build/wasm/core.wasm. Runs from the project root, with node_modules/.bin in PATH. The
# memory is imported and shared, so that every worker and the host see the same bytes; 4096 pages
# are 256 MiB.
set -eu
out=build/wasm
rm -rf "$out/assembly"
mkdir -p "$out"
cp -r wasm/assembly "$out/assembly"
node wasm/assembly/unroll.mjs wasm/assembly/blake3-compress.ts "$out/assembly/blake3-compress.ts"
asc "$out/assembly/index.ts" --outFile "$out/core.wasm.tmp" -O3 --noAssert --runtime stub \
  --enable simd,relaxed-simd,bulk-memory,threads \
  --importMemory --sharedMemory --initialMemory 1 --maximumMemory 4096 --use abort=
mv "$out/core.wasm.tmp" "$out/core.wasm"

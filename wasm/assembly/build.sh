#!/bin/sh
# Builds build/wasm/core.wasm. Runs from the project root, with node_modules/.bin in PATH.
# The memory is imported and shared, so that every worker and the host see the same bytes; 4096 pages are 256 MiB.
set -eu
mkdir -p build/wasm
asc wasm/assembly/index.ts --outFile build/wasm/core.wasm.tmp -O3 --noAssert --runtime stub \
  --enable simd,relaxed-simd,bulk-memory,threads \
  --importMemory --sharedMemory --initialMemory 1 --maximumMemory 4096 --use abort=
mv build/wasm/core.wasm.tmp build/wasm/core.wasm

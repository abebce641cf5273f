#!/bin/sh
# All fault tests, one file at a time, and what their kills came to. NFV_KILL_POINTS=all kills at every point.
set -u
cd "$(dirname "$0")/.."
PATH="$PWD/node_modules/.bin:$PATH"
NFV_KILL_FIGURES=$(mktemp)
export NFV_KILL_FIGURES
status=0
ava --concurrency=1 'test/fault/**/*.test.ts' || status=1
node test/support/kill-figures.ts "$NFV_KILL_FIGURES" || status=1
rm -f "$NFV_KILL_FIGURES"
exit "$status"

#!/bin/sh
# All tests, or with arguments what they say (as for `ava`). Those that start machines and servers, and kill them, run one
# file at a time: on two processors they would starve one another and the deadlines that they test.
set -u
cd "$(dirname "$0")/.."
PATH="$PWD/node_modules/.bin:$PATH"
[ $# -eq 0 ] || exec ava "$@"
status=0
ava 'test/{unit,property}/**/*.test.ts' || status=1
ava --concurrency=1 'test/{conformance,integration,fault}/**/*.test.ts' || status=1
exit "$status"

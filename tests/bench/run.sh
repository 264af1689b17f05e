#!/usr/bin/env bash
# Measures what the guard costs and prints a table of ratios. Sets up and builds what it needs.
#   tests/bench/run.sh [--rounds N]      about five minutes; leave the machine alone meanwhile
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/setup/setup.sh
source tests/setup/setup.sh
unset LD_PRELOAD
setup_debian_packages || exit 2
venv=$(setup_main_venv) || exit 2
build=$(setup_build bin/oomguard lib/liboomguard.so) || exit $?
mkdir -p "$build/bench"
cc -O2 -Wall -Wextra -fno-builtin -fPIC -shared -o "$build/bench/libforwarder.so" \
  tests/bench/forwarder.c
cc -O2 -Wall -Wextra -pthread -o "$build/bench/pairs" tests/bench/pairs.c
cc -O2 -Wall -Wextra -o "$build/bench/writes" tests/bench/writes.c
cc -O2 -Wall -Wextra -o "$build/bench/blocks" tests/bench/blocks.c
exec "$venv/bin/python" tests/bench/bench.py --build "$build" --pairs "$build/bench/pairs" \
  --writes "$build/bench/writes" --blocks "$build/bench/blocks" --forwarder "$build/bench/libforwarder.so" "$@"

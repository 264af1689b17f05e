#!/usr/bin/env bash
# Measures what oomguard's call stacks cost beside memory profilers, in one run, and prints one table.
# Installs the profilers (as root: Debian packages too); what cannot be had is named and left out.
#   tests/bench/profilers.sh [--rounds N]      about ten minutes; leave the machine alone meanwhile
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/setup/setup.sh
source tests/setup/setup.sh
unset LD_PRELOAD
setup_debian_packages || exit 2
python=$(setup_profilers_venv)/bin/python || exit 2
for package in heaptrack libgoogle-perftools4 libjemalloc2; do
  dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || ((EUID != 0)) ||
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$package" </dev/null >&2 ||
    setup_say "$package cannot be installed"
done
build=$(setup_build bin/oomguard lib/liboomguard.so) || exit $?
mkdir -p "$build/bench"
cc -O2 -Wall -Wextra -pthread -o "$build/bench/pairs" tests/bench/pairs.c
cc -O2 -Wall -Wextra -o "$build/bench/blocks" tests/bench/blocks.c
exec "$python" tests/bench/profilers.py --build "$build" "$@"

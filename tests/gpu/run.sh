#!/usr/bin/env bash
# The GPU gate on a real card, in less than eight minutes: every framework that is installed fills
# the card bare, with --gpu-budget 20G, and with auto beside a process that holds 40 GB; other ways of
# taking memory; a checkpoint of 19.1 billion parameters; what the hooks cost. Fetches nothing.
# Prints a table. The status is 0 if all is as it should be, 1 if not, 2 if the library cannot be
# built, and 77 (with a line that says why) where there is no card to try it on.
#
#   tests/gpu/run.sh [--only WORD]     cases with this in their name
#
# PYTHON names the interpreter that has the frameworks (python3), OOMGUARD_BUILD a build that is
# there already (else build/gpu is made, without the command and the tests).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
unset LD_PRELOAD
python=${PYTHON:-python3}

if ! "$python" -c 'import sys; sys.path.insert(0, "tests/gpu/device"); import nvml; nvml.Card()' \
  2>/dev/null; then
  echo "skipped: there is no NVIDIA card here (NVML finds none)"
  exit 77
fi
if [[ -z ${OOMGUARD_BUILD:-} ]]; then
  OOMGUARD_BUILD=$PWD/build/gpu
  cmake -S . -B "$OOMGUARD_BUILD" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DOOMGUARD_BUILD_TESTS=OFF \
    -DOOMGUARD_BUILD_TOOLS=OFF >&2 || exit 2
  cmake --build "$OOMGUARD_BUILD" --target oomguard -j "$(nproc)" >&2 || exit 2
  # The auditor, where there are headers of CUPTI.
  cmake --build "$OOMGUARD_BUILD" --target oomguard_cupti -j "$(nproc)" >&2 || true
fi
# Not `oomguard run`: it needs libraries that may be missing on such a machine.
exec "$python" tests/gpu/device/check.py --library "$OOMGUARD_BUILD/lib/liboomguard.so" "$@"

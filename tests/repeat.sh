#!/usr/bin/env bash
# Repeats the end-to-end cases and prints their figures; exit status 1 if one run did not survive.
#   tests/repeat.sh [--times 20] [--only growth|touching|room|interpreters|load|notebook|...]
# Growth and notebook run that many times, interpreters and script loads a quarter as often. The whole
# with 20 takes about 45 minutes on two cores. docs/testing.md has more.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
# shellcheck source=tests/setup/setup.sh
source tests/setup/setup.sh
unset LD_PRELOAD
setup_debian_packages || exit 2
OOMGUARD_VENV=$(setup_main_venv) || exit 2
OOMGUARD_PYTHONS=$(setup_interpreters | paste -sd:)
OOMGUARD_BUILD=$(setup_build bin/oomguard lib/liboomguard.so program_fill) || exit $?
export OOMGUARD_BUILD OOMGUARD_VENV OOMGUARD_PYTHONS
exec "$OOMGUARD_VENV/bin/python" tests/end_to_end/repeat.py "$@"

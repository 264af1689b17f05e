#!/usr/bin/env bash
# Runs every test, from a fresh clone on a fresh machine too: installs what is missing, builds with
# warnings as errors, runs the unit tests (ctest) and the tests that run processes (pytest). The last
# line is `N passed, N failed, N skipped`; the exit status is 1 if anything failed and 2 if the
# set-up cannot be done here.
#
#   tests/run.sh [FOLDER...]    with folders (tests/docs tests/shim ...): those alone
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
# shellcheck source=tests/setup/setup.sh
source tests/setup/setup.sh

fail_before_tests() {
  echo "0 passed, 1 failed, 0 skipped"
  exit "$1"
}

setup_debian_packages || fail_before_tests 2
setup_browser
OOMGUARD_VENV=$(setup_main_venv) || fail_before_tests 2
OOMGUARD_VENV_TRANSFORMERS4=$(setup_transformers4_venv) || OOMGUARD_VENV_TRANSFORMERS4=
OOMGUARD_VENV_FOREIGN=$(setup_foreign_venv) || OOMGUARD_VENV_FOREIGN=
OOMGUARD_VENV_LAB=$(setup_lab_venv) || OOMGUARD_VENV_LAB=
OOMGUARD_VENV_PACKAGE=$(setup_package_venv) || OOMGUARD_VENV_PACKAGE=
OOMGUARD_NOTEBOOKS=$(setup_notebooks | paste -sd:)
OOMGUARD_PYTHONS=$(setup_interpreters | paste -sd:)
OOMGUARD_BUILD=$(setup_build) || fail_before_tests 1
export OOMGUARD_BUILD OOMGUARD_VENV OOMGUARD_VENV_TRANSFORMERS4 OOMGUARD_VENV_FOREIGN \
  OOMGUARD_VENV_LAB OOMGUARD_VENV_PACKAGE OOMGUARD_NOTEBOOKS OOMGUARD_PYTHONS

folders=("$@")
results=$OOMGUARD_BUILD/results
rm -rf "$results"
mkdir -p "$results"
reports=()
unset LD_PRELOAD

if ((${#folders[@]} == 0)); then
  folders=(tests/docs tests/shim tests/tools tests/faults tests/foreign tests/fuzz tests/gpu
    tests/end_to_end tests/torture tests/vm)
  reports+=("$results/ctest.xml")
  echo "== unit tests"
  # Two at once at most: some of them measure their own memory.
  ctest --test-dir "$OOMGUARD_BUILD" --output-on-failure --timeout 120 --parallel 2 \
    --output-junit "$results/ctest.xml" </dev/null | tail -n 200
fi

run_pytest() {  # NAME FOLDER [OPTION...]
  local name=$1 folder=$2
  shift 2
  reports+=("$results/$name.xml")
  echo "== $folder $*"
  "$OOMGUARD_VENV/bin/python" -m pytest "$folder" "$@" -p no:cacheprovider -q -rs --timeout 300 \
    -o verbosity_assertions=2 -o junit_family=xunit2 --junitxml "$results/$name.xml" </dev/null
}

for folder in "${folders[@]}"; do
  # A folder without Python tests has nothing to run.
  [[ -n $(find "$folder" -name 'test_*.py' -print -quit) ]] || continue
  name=$(basename "$folder")
  # Two at once where tests measure neither memory nor time, or have memory groups of their own.
  case $folder in
    tests/shim* | tests/tools* | tests/faults*) run_pytest "$name" "$folder" -n 2 --dist loadfile ;;
    tests/foreign*) run_pytest "$name" "$folder" -n 2 --dist load ;;
    tests/end_to_end*)
      # The files with models are in the second half: one worker's, one after the other.
      run_pytest "$name" "$folder" -n 2 --dist worksteal -m "not alone"
      run_pytest "$name-alone" "$folder" -m alone
      ;;
    *) run_pytest "$name" "$folder" ;;
  esac
done

"$OOMGUARD_VENV/bin/python" tests/setup/sum_results.py "${reports[@]}"

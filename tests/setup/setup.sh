# shellcheck shell=bash
# Set-up shared by tests/run.sh, tests/repeat.sh, tests/bench/run.sh and examples/quickstart.sh.
# Sourced, not run. Everything it makes lies in the user's cache or in the clone's build/ folder.
#
#   setup_debian_packages        compilers and headers; as root installs what is missing
#   setup_browser                Chromium with its driver, where that can be installed
#   setup_venv NAME PYTHON LABEL REQ...   prints the folder of a complete virtual environment
#   setup_main_venv              CPython 3.11 with torch, transformers 5 and ipykernel
#   setup_transformers4_venv     the same torch beside transformers 4.46.3
#   setup_foreign_venv           libraries with allocators of their own (orjson, pyarrow, memray ...)
#   setup_notebooks              older versions of IPython and ipykernel, an interpreter a line
#   setup_lab_venv               JupyterLab, for a test in a browser
#   setup_profilers_venv         memory profilers, for tests/bench/profilers.sh
#   setup_interpreters           one small environment per CPython 3.9 to 3.14 found
#   setup_build [TARGET...]      configures and builds into build/run (release preset)
# Messages go to stderr; only results go to stdout.

setup_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
setup_requirements=$setup_root/tests/setup
setup_cache=${XDG_CACHE_HOME:-$HOME/.cache}/oomguard
export PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

setup_say() { printf '%s\n' "$*" >&2; }

setup_debian_packages() {
  local wanted=(cmake ninja-build g++ pkg-config libgtest-dev libcli11-dev nlohmann-json3-dev
                libdw-dev zlib1g-dev liblzma-dev libbz2-dev libfmt-dev python3 python3-venv binutils
                util-linux)
  # What the HTML report is built with, allocators that some tests preload, and what call stacks are
  # compared with: they skip, or do without, where one is missing.
  ((EUID != 0)) || wanted+=(node-d3 libjemalloc2 libtcmalloc-minimal4 libmimalloc2.0 electric-fence
                            libunwind8)
  local missing=() package
  if ! command -v dpkg-query >/dev/null; then
    setup_say "not a Debian system: expecting the equivalents of ${wanted[*]}"
    return 0
  fi
  for package in "${wanted[@]}"; do
    [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
      missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  if ((EUID != 0)); then
    setup_say "missing Debian packages: ${missing[*]} (as root: apt-get install ${missing[*]})"
    return 2
  fi
  setup_say "installing ${missing[*]}"
  {
    apt-get update -q &&
      DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
  } </dev/null >&2 || {
    setup_say "apt-get could not install ${missing[*]}"
    return 2
  }
}

# A browser for the tests of the HTML report and of JupyterLab, which skip where there is none.
setup_browser() {
  command -v chromium >/dev/null && command -v chromedriver >/dev/null && return 0
  ((EUID == 0)) && command -v dpkg-query >/dev/null || return 0
  setup_say "installing chromium and chromium-driver"
  DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends chromium \
    chromium-driver </dev/null >&2 || setup_say "there is no browser: its tests are skipped"
}

# The interpreter behind a name, or nothing: a version manager's stand-in counts only if it starts.
setup_python_works() {
  local version=$1 candidate=$2
  [[ -x $candidate ]] || return 1
  [[ $("$candidate" -c 'import sys, ensurepip, venv; print("%d.%d" % sys.version_info[:2])' \
    2>/dev/null) == "$version" ]]
}

setup_pyenv_root() {
  if [[ -n ${PYENV_ROOT:-} ]]; then
    printf '%s\n' "$PYENV_ROOT"
  elif [[ -d $HOME/.pyenv ]]; then
    printf '%s\n' "$HOME/.pyenv"
  elif command -v pyenv >/dev/null; then
    pyenv root
  fi
}

# Prints a CPython of VERSION (3.11): the system's, pyenv's newest patch release, or PATH's.
setup_find_python() {
  local version=$1 candidate candidates=("/usr/bin/python$1") root
  root=$(setup_pyenv_root)
  if [[ -n $root ]]; then
    while IFS= read -r candidate; do candidates+=("$candidate"); done < <(
      printf '%s\n' "$root"/versions/"$version".*/bin/python"$version" | sort -rV)
  fi
  candidate=$(command -v "python$version") && candidates+=("$candidate")
  for candidate in "${candidates[@]}"; do
    if setup_python_works "$version" "$candidate"; then
      printf '%s\n' "$candidate"
      return 0
    fi
  done
  return 1
}

# Virtual environments cannot be moved once made, so one is made in its final place, under a lock,
# and counts only once its `.complete` marker exists; what an interruption left is made anew.
# Each REQ file is installed by a pip call of its own, in order.
setup_venv() {
  local name=$1 python=$2 hash directory
  shift 2
  hash=$({ "$python" -c 'import sys; print(sys.version, sys.executable)'; cat "$@"; } |
    sha256sum | cut -c1-12) || return 1
  directory=$setup_cache/$name-$hash
  if [[ ! -e $directory/.complete ]] || ! "$directory/bin/python" -c '' 2>/dev/null; then
    mkdir -p "$setup_cache" || return 1
    (
      flock 9
      [[ -e $directory/.complete ]] && "$directory/bin/python" -c '' 2>/dev/null && exit 0
      setup_say "making the Python environment $directory"
      rm -rf "$directory"
      "$python" -m venv "$directory" 1>&2 || exit 1
      for requirements in "$@"; do
        "$directory/bin/python" -m pip install -qq -r "$requirements" </dev/null 1>&2 || exit 1
      done
      touch "$directory/.complete"
    ) 9>"$directory.lock" || {
      setup_say "the Python environment $name could not be made with $python"
      return 1
    }
  fi
  printf '%s\n' "$directory"
}

setup_main_venv() {
  local python
  python=$(setup_find_python 3.11) || {
    setup_say "CPython 3.11 with its venv module is needed and was not found"
    return 2
  }
  # torch first and alone: whatever asks for torch later must find this very version.
  setup_venv main "$python" "$setup_requirements/requirements-torch.txt" \
    "$setup_requirements/requirements-main.txt"
}

setup_transformers4_venv() {
  local python
  python=$(setup_find_python 3.11) || return 2
  setup_venv transformers4 "$python" "$setup_requirements/requirements-torch.txt" \
    "$setup_requirements/requirements-transformers4.txt"
}

setup_foreign_venv() {
  local python
  python=$(setup_find_python 3.11) || return 2
  setup_venv foreign "$python" "$setup_requirements/requirements-foreign.txt"
}

setup_lab_venv() {
  local python
  python=$(setup_find_python 3.11) || return 2
  setup_venv lab "$python" "$setup_requirements/requirements-lab.txt"
}

setup_package_venv() {
  local python
  python=$(setup_find_python 3.11) || return 2
  setup_venv package "$python" "$setup_requirements/requirements-package.txt"
}

setup_profilers_venv() {
  local python
  python=$(setup_find_python 3.11) || return 2
  setup_venv profilers "$python" "$setup_requirements/requirements-profilers.txt"
}

# IPython 7 and 8 with ipykernel 6 (the main environment has IPython 9 and ipykernel 7).
setup_notebooks() {
  local version name python directory
  for name in notebook7:3.9 notebook8:3.12; do
    version=${name#*:} name=${name%:*}
    python=$(setup_find_python "$version") || continue
    directory=$(setup_venv "$name" "$python" "$setup_requirements/requirements-$name.txt") &&
      printf '%s\n' "$directory/bin/python"
  done
}

# Prints interpreters, one a line: environments with numpy for each CPython 3.9 to 3.14 found.
setup_interpreters() {
  local version python directory system
  for version in 3.9 3.10 3.11 3.12 3.13 3.14; do
    local found=()
    python=$(setup_find_python "$version") && found+=("$python")
    # The system's 3.11 and pyenv's differ (static, patched allocator defaults): take both.
    system=$(setup_pyenv_python "$version") && [[ $system != "${found[0]:-}" ]] &&
      found+=("$system")
    if ((${#found[@]} == 0)); then
      setup_say "CPython $version: not found, its rows are skipped"
      continue
    fi
    for python in "${found[@]}"; do
      if directory=$(setup_venv "python$version" "$python" \
        "$setup_requirements/requirements-interpreter.txt"); then
        printf '%s\n' "$directory/bin/python"
      else
        setup_say "CPython $version ($python): used without numpy"
        printf '%s\n' "$python"
      fi
    done
  done
}

setup_pyenv_python() {
  local version=$1 root candidate
  root=$(setup_pyenv_root)
  [[ -n $root ]] || return 1
  while IFS= read -r candidate; do
    setup_python_works "$version" "$candidate" && printf '%s\n' "$candidate" && return 0
  done < <(printf '%s\n' "$root"/versions/"$version".*/bin/python"$version" | sort -rV)
  return 1
}

# Configures and builds with the release preset; the log is shown only if that fails.
setup_build() {
  local build=$setup_root/build/run log
  mkdir -p "$build" 2>/dev/null || {
    setup_say "cannot write to $setup_root/build: use a clone of your own"
    return 2
  }
  log=$build/build.log
  (
    flock 9
    cd "$setup_root" &&
      cmake --preset release -B "$build" >"$log" 2>&1 &&
      cmake --build "$build" --parallel "$(nproc)" --target "${@:-all}" >>"$log" 2>&1
  ) 9>"$build/.lock" || {
    tail -n 60 "$log" >&2
    setup_say "the build failed; all of its output: $log"
    return 1
  }
  printf '%s\n' "$build"
}

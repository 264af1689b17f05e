#!/usr/bin/env bash
# The main job on real input: a notebook loads a 19-billion-parameter model into 6 GiB, once in a
# plain Jupyter kernel and once in a guarded one, and prints both outcomes side by side.
# Sets up what it needs (see tests/setup/setup.sh) and removes what it made, except the build and the
# Python environment. Exit status: 0 if the guarded kernel survived, 2 if the set-up cannot be done.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=tests/setup/setup.sh
source tests/setup/setup.sh

limit_bytes=$((6 << 30))
hang_seconds=20  # a bare kernel that neither loads nor dies for so long is counted as hung
mode=             # how the limit is made: group, scope or budget
group=
work=

clean_up() {
  if [[ -n $group && -d $group ]]; then
    # Everything in this group was started by this script.
    for ((try = 0; try < 50; ++try)); do
      rmdir "$group" 2>/dev/null && break
      while read -r pid; do kill -KILL "$pid" 2>/dev/null || true; done <"$group/cgroup.procs"
      sleep 0.1
    done
  fi
  [[ -z $work ]] || rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# Sets `group` to a new memory group below this process's own, limited; fails where that is not
# allowed. cgroup v1, or v2 where this group hands its memory controller on.
make_group() {
  local mount path version file
  mount=$(awk '$0 ~ / - cgroup .*[ ,]memory(,|$)/ {print $5; exit}' /proc/self/mountinfo)
  path=$(awk -F: '$2 ~ /(^|,)memory(,|$)/ {print $3; exit}' /proc/self/cgroup)
  version=1 file=memory.limit_in_bytes
  if [[ -z $mount || -z $path ]]; then
    mount=$(awk '$0 ~ / - cgroup2 / {print $5; exit}' /proc/self/mountinfo)
    path=$(awk -F: '$1 == 0 {print $3; exit}' /proc/self/cgroup)
    version=2 file=memory.max
  fi
  [[ -d $mount$path ]] || path=
  [[ -n $mount ]] || return 1
  group=${mount}${path%/}/oomguard-quickstart-$$
  mkdir "$group" 2>/dev/null || { group=; return 1; }
  if [[ ! -w $group/$file ]] || ! echo "$limit_bytes" 2>/dev/null >"$group/$file"; then
    rmdir "$group"
    group=
    return 1
  fi
  if ((version == 1)); then
    echo "$limit_bytes" 2>/dev/null >"$group/memory.memsw.limit_in_bytes" || true
  else
    echo 0 2>/dev/null >"$group/memory.swap.max" || true
  fi
}

choose_limit() {
  if make_group; then
    mode=group
  elif systemd-run --user --scope --quiet -p MemoryMax=6G -p MemorySwapMax=0 true \
    >/dev/null 2>&1; then
    mode=scope
  else
    mode=budget
  fi
}

# Runs a command under the limit.
limited() {
  case $mode in
    group) (
      echo "$BASHPID" >"$group/cgroup.procs"
      exec "$@"
    ) ;;
    scope) systemd-run --user --scope --quiet -p MemoryMax=6G -p MemorySwapMax=0 -- "$@" ;;
    budget) OOMGUARD_BUDGET=6G "$@" ;;
  esac
}

# Executes the notebook in KERNEL; what happened goes to FILE.
execute() {
  local kernel=$1 file=$2 cell_seconds=$3
  limited "$venv/bin/python" examples/notebook/execute.py examples/notebook/load_19b.ipynb \
    --kernel "$kernel" --cell-timeout "$cell_seconds" --json "$file" \
    >"$work/$kernel.log" 2>&1 </dev/null || true
  if [[ ! -s $file ]]; then
    tail -n 20 "$work/$kernel.log" >&2
    echo "the notebook could not be executed in kernel $kernel" >&2
    exit 1
  fi
}

unset LD_PRELOAD "${!OOMGUARD@}"
setup_debian_packages || exit 2
venv=$(setup_main_venv) || exit 2
build=$(setup_build bin/oomguard lib/liboomguard.so) || exit $?

work=$(mktemp -d -p /var/tmp oomguard-quickstart-XXXXXX)  # a disk: on tmpfs, files are memory
"$venv/bin/python" examples/load_19b/make_checkpoint.py "$work/checkpoint"
export CHECKPOINT=$work/checkpoint HF_HUB_OFFLINE=1 JUPYTER_RUNTIME_DIR=$work/runtime \
  IPYTHONDIR=$work/ipython OOMGUARD_DIR=$work/sessions JUPYTER_PATH=$venv/share/jupyter
"$build/bin/oomguard" kernelspec install --from python3 --name guarded --prefix "$work/prefix" \
  >/dev/null
export JUPYTER_PATH=$work/prefix/share/jupyter

# The libraries are read once outside the limit, so that both kernels start alike.
"$venv/bin/python" -c 'import torch, accelerate; from transformers import LlamaForCausalLM'

choose_limit
case $mode in
  group) echo "limit: 6 GiB, by a memory group of this script's own" ;;
  scope) echo "limit: 6 GiB, by systemd-run --user --scope" ;;
  budget)
    echo "limit: no memory group can be made here, so the guarded kernel is given a budget of 6 GiB"
    echo "and the plain kernel is not run: it would take all of this machine's memory"
    ;;
esac
plain="plain kernel"
if [[ $mode != budget ]]; then
  echo "running the notebook in the plain kernel"
  execute python3 "$work/plain.json" "$hang_seconds"
  plain="plain kernel=$work/plain.json"
fi
echo "running the notebook in the guarded kernel"
execute guarded "$work/guarded.json" 180
echo
"$venv/bin/python" examples/notebook/compare.py examples/notebook/load_19b.ipynb \
  "$plain" "guarded kernel=$work/guarded.json"

// Which control groups hold a process: /proc/PID/cgroup and mountinfo, v1, v2 and hybrid.
//
// Thread-safety: one caller at a time (whoever holds State::refreshing). Callable from a hook and
// from the raw thread: yes.
#pragma once

#include "collector/probe/probe_state.h"

namespace oomguard::probe {

// Fills `table` with the memory groups of the process, from its own up to the mount point. Returns
// false where no memory controller was found; the table is then empty.
bool resolve_groups(State& state, GroupTable* table);

// Reads the limits of every group of `table` again.
void read_limits(State& state, GroupTable& table);

// Closes every descriptor of `table`.
void close_groups(GroupTable* table);

// A number that changes when the process is moved; 0 where it cannot be read.
uint64_t hash_cgroup_text(State& state);

}  // namespace oomguard::probe

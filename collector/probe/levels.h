// One Level of a Reading at a time: a control group, the machine, a resource limit, the budget.
//
// Thread-safety: any number of callers. Callable from a hook and from the raw thread: yes.
#pragma once

#include "collector/probe/probe_state.h"

namespace oomguard::probe {

// Appends the limited groups of `table`, innermost first. With kFull, State::swap_free must be
// current. `table_index` becomes part of Level::path_index.
void add_group_levels(State& state, GroupTable& table, uint32_t table_index, Depth depth,
                      Reading* out);

// RLIMIT_AS and RLIMIT_DATA, where they are set.
void add_rlimit_levels(State& state, Reading* out);

// The machine, read anew with kFull, and with kCheap where the value kept from the last time is old
// or could bind.
void add_machine_level(State& state, Depth depth, Reading* out);

// The configured budget; a share is of the smallest limit in `out`, so this comes last.
void add_budget_level(State& state, Reading* out);

// /proc/meminfo into the state. False where it cannot be read.
bool read_machine(State& state, int64_t now_ns);
// RssShmem of /proc/PID/status, and the resource limits, into the state.
void read_shmem(State& state);
void read_rlimits(State& state);

}  // namespace oomguard::probe

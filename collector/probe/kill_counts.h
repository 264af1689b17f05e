// What the kernel counts of the processes that it ends for want of memory, and which boot it counts
// since.
//
// A counter belongs to one group in one boot: a group that was made anew under the same name has
// another key, and begins at zero. In every group except that of the process itself only `hits`
// concern it.
// Thread-safety: any number of callers. Callable from a hook: no (opens files); from the raw
// thread: yes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "collector/probe/probe.h"
#include "collector/probe/reading.h"

namespace oomguard::probe {

// -1 where the kernel does not tell.
struct KillCounts {
  int64_t kills = -1;  // processes of this very group that were ended, whoever's limit it was
  int64_t hits = -1;   // v2: times that this very group's limit was hit with nothing to reclaim;
                       // v1: 0 where its usage never came near the limit, more where it did
  int64_t group_kills = -1;  // v2: times that all of it was ended (memory.oom.group)
};

// Of the group at `directory`. `innermost`: the process lives in it, so that a kernel without
// memory.events.local (before Linux 5.2), which counts what is below a group with it, tells enough.
[[nodiscard]] KillCounts read_kill_counts(const char* directory, LimitKind kind, bool innermost);

struct GroupKills {
  const char* path;  // of the group's directory, while it is visited
  uint64_t key;
  LimitKind kind;
  Bytes limit;  // the one that kills (memory.max, whatever memory.high says); kUnlimited none
  KillCounts counts;
};
// Of the probe's memory groups that one, counted from the innermost. False where there are not so
// many.
[[nodiscard]] bool read_group_kills(const Probe& probe, uint32_t index, GroupKills* out);

// The key of a group's directory, as Probe has it; 0 where there is none.
[[nodiscard]] uint64_t read_group_key(const char* directory);

// Of the whole machine since it was started, whatever the group. `proc` is "/proc". Costs more than
// all the rest here: the kernel adds up every counter of every CPU.
[[nodiscard]] int64_t read_machine_kills(const char* proc);

// A number that is another one after each start of the machine; false where it cannot be read.
struct BootId {
  uint64_t words[2] = {};
  bool operator==(const BootId&) const = default;
};
[[nodiscard]] bool read_boot_id(const char* proc, BootId* out);
// Of text like "c0ffee00-1234-...". Pure.
[[nodiscard]] bool parse_boot_id(const char* text, size_t size, BootId* out);

// Of the caller's own namespace of process ids; 0 where it cannot be read.
[[nodiscard]] uint64_t read_pid_namespace(const char* proc);

}  // namespace oomguard::probe

// Every limit on memory that applies to a process, read live from the kernel.
//
// One Probe per process. `open` resolves the control groups of the process (v1, v2 and hybrid, all
// visible ancestors) and keeps descriptors; `read` turns them into one Reading. The arithmetic
// on a Reading is in reading.h and takes no files.
//
// Thread-safety: after `open`, any number of threads may call `read` and `refresh` at once.
// Callable from a hook and from the watchdog's raw thread: yes (only oomguard::sys calls, no
// allocation, no lock held across a system call, no thread-local access).
// Errors: a level that cannot be read is left out of the Reading and counted in `faults`; a Reading
// without any level has `level_count == 0`, and the gate lets everything pass (fail open).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "collector/probe/probe_state.h"
#include "collector/probe/reading.h"

namespace oomguard::probe {

struct Config {
  // Prefix of every path read ("" on a live machine, a fixture tree in tests).
  const char* root = "";
  int pid = 0;  // 0 = this process
  Budget budget;
  // Another budget in bytes, read at each reading: the lower of the two counts. 0, or null: none.
  // It outlives the probe.
  const std::atomic<Bytes>* changing_budget = nullptr;
};

class Probe {
 public:
  constexpr Probe() = default;

  // Resolves groups and opens descriptors (moved to high numbers, close-on-exec). Call again in
  // fork's child, while no other thread reads (a moved group is noticed by `refresh`). Returns
  // false where nothing at all could be read.
  [[nodiscard]] bool open(const Config& config);

  // Reads usage (and with kFull the rest). Returns false where no level could be read.
  // Every descriptor is compared with what it was when opened (st_dev, st_ino) before it is
  // believed, and reopened when the program closed it or reused its number.
  [[nodiscard]] bool read(Depth depth, Reading* out);

  // Reads limits and /proc/PID/cgroup again (a resized or moved group). The watchdog calls it at
  // least once a second.
  void refresh();

  // Bytes of executable file mappings that are resident in this process, and are therefore not
  // called reclaimable. Set by the engine from resident_text(); starts at 0.
  void set_resident_text(Bytes bytes);

  // Bytes of file pages that this process wrote as its memory (shim/spill): the kernel writes them
  // out before it touches the text of programs, so they are reclaimable beside it. Starts at 0.
  void set_given_back(Bytes bytes);

  // What the other processes of the tree hold, for LimitKind::kBudget: counted in the next reading
  // together with this process's own RssAnon and RssShmem. Less what they count of this process's,
  // so that it may be negative. Starts at 0.
  void set_others_usage(Bytes bytes);

  // Takes over the limits that `fresh`, a probe of the same process, has read, without opening or
  // reading anything. False where the groups are not the same ones (the process was moved): then
  // `refresh` finds them.
  [[nodiscard]] bool adopt_limits(const Probe& fresh);

  // Path of a level's directory as a person knows it ("/sys/fs/cgroup/memory/x"), never null.
  const char* level_path(uint16_t path_index) const;
  // A key of the innermost memory group (its st_dev and st_ino mixed), the same for every process
  // of that group; 0 where there is none.
  uint64_t group_key() const;
  // Groups above the visible root exist but cannot be seen (container namespace).
  bool ancestors_hidden() const;
  // memory.oom.group of the binding levels: the kernel would end every process of the group.
  bool kills_whole_group() const;
  // Sum of oom_kill over the visible levels' counters (v1 memory.oom_control, v2 memory.events);
  // -1 where it cannot be read.
  int64_t oom_kills();
  // RssAnon and RssShmem of the process: the memory that only it can give back. -1 where it cannot
  // be read. Once it was read, by a descriptor that stays: see process.h for who has no probe.
  Bytes own_memory() const;
  uint64_t faults() const;

  // For the other readers of this folder.
  State& state() const { return state_; }

 private:
  mutable State state_{};  // descriptors are reopened behind const, too
};

}  // namespace oomguard::probe

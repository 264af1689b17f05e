// Every limit on memory that applies to a process, read live from the kernel.
//
// One Probe per process. `open` resolves the control groups of the process (v1, v2 and hybrid, all
// visible ancestors) and keeps descriptors; `read` turns them into one Reading. Pure arithmetic on a
// Reading (headroom) takes no files, so that it is tested on numbers alone.
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

namespace oomguard::probe {

using Bytes = int64_t;
inline constexpr Bytes kUnlimited = INT64_MAX;
inline constexpr size_t kMaxLevels = 16;
inline constexpr size_t kMaxPath = 512;

enum class LimitKind : uint8_t {
  kCgroupV1 = 1,  // memory.limit_in_bytes of one level
  kCgroupV2,      // min(memory.max, memory.high) of one level
  kMachine,       // MemAvailable of /proc/meminfo
  kRlimitAs,      // RLIMIT_AS against VmSize
  kRlimitData,    // RLIMIT_DATA against VmData
  kBudget,        // the configured budget against the process tree
};

// One limit at one moment. `usage` is everything charged; `reclaimable` is what the kernel gives
// back without killing anybody (0 until it was read: see Depth).
struct Level {
  LimitKind kind;
  bool is_high;        // v2: memory.high binds here, not memory.max
  bool text_held;      // the resident text was already taken out of `reclaimable`
  Bytes limit;         // kUnlimited where none is set
  Bytes usage;
  Bytes reclaimable;   // active_file + inactive_file of this level, less resident text
  Bytes swap_room;     // swap this level may still use (0 without swap)
  uint16_t path_index; // Probe::level_path(path_index); 0xffff where the level is no control group
};

struct Reading {
  uint32_t level_count = 0;
  bool full = false;   // memory.stat was read: `reclaimable` is valid everywhere
  int64_t at_ns = 0;   // CLOCK_MONOTONIC
  Level levels[kMaxLevels];
};

// Which level binds, and how many bytes are left there. `level == UINT32_MAX` where nothing limits.
struct Headroom {
  Bytes bytes = kUnlimited;
  uint32_t level = UINT32_MAX;
};

// min over levels of limit - usage + reclaimable + swap_share_permille/1000 * swap_room.
// Never below INT64_MIN/2. Pure.
Headroom headroom(const Reading& reading, uint32_t swap_share_permille);

enum class Depth : uint8_t {
  kCheap,  // counters only: usage of each limited group, MemAvailable if it could bind (0.7-6 us)
  kFull,   // memory.stat too: reclaimable and swap (7 us more per level)
};

// A budget of oomguard's own, resolved to bytes (collector/options parses it).
struct Budget {
  Bytes bytes = kUnlimited;          // a size
  uint32_t share_permille = 0;       // or a share of the smallest kernel limit; 0 = none
};

struct Config {
  // Prefix of every path read ("" on a live machine, a fixture tree in tests).
  const char* root = "";
  int pid = 0;  // 0 = this process
  Budget budget;
};

class Probe {
 public:
  constexpr Probe() = default;

  // Resolves groups and opens descriptors (moved to high numbers, close-on-exec). Call again after
  // fork or when the process may have been moved. Returns false where nothing at all could be read.
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

  // The usage of the process tree for LimitKind::kBudget; set by the engine (sum over the group's
  // table) and counted in the next reading. Negative: read this process's own RssAnon+RssShmem.
  void set_tree_usage(Bytes bytes);

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
  uint64_t faults() const;

  struct State;  // in probe_state.h: fixed-size, constant-initialised

 private:
  State* state_ = nullptr;
};

}  // namespace oomguard::probe

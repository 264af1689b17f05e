// What a probe saw: the limits that apply to a process, in numbers, and the arithmetic on them.
//
// Plain values, no files: whoever tests a decision builds a Reading by hand.
// Thread-safety: values and pure functions. Callable from a hook and from the raw thread: yes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace oomguard::probe {

using Bytes = int64_t;
inline constexpr Bytes kUnlimited = INT64_MAX;
inline constexpr size_t kMaxLevels = 16;
inline constexpr size_t kMaxPath = 512;
inline constexpr uint16_t kNoPath = 0xffff;

enum class LimitKind : uint8_t {
  kCgroupV1 = 1,  // memory.limit_in_bytes of one level
  kCgroupV2,      // min(memory.max, memory.high) of one level
  kMachine,       // MemAvailable of /proc/meminfo
  kRlimitAs,      // RLIMIT_AS against VmSize
  kRlimitData,    // RLIMIT_DATA against VmData
  kBudget,        // the configured budget against the process tree
  kGpu,           // a GPU's memory, or the budget of it (in records alone)
};

// One limit at one moment. `usage` is everything charged; `reclaimable` is what the kernel gives
// back without killing anybody (0 until it was read: see Depth).
struct Level {
  LimitKind kind;
  bool is_high;         // v2: memory.high binds here, not memory.max
  Bytes limit;          // kUnlimited where none is set
  Bytes usage;
  Bytes reclaimable;    // active_file + inactive_file of this level, less resident text
  Bytes swap_room;      // swap this level may still use (0 without swap)
  uint16_t path_index;  // Probe::level_path(path_index); 0xffff where the level is no control group
  Bytes swap_used = 0;  // swap this level uses already
  // Resident text that was taken out of `reclaimable`: not what is charged to another group, as the
  // text of libraries mostly is.
  Bytes text_held = 0;
};

struct Reading {
  uint32_t level_count = 0;
  bool full = false;  // memory.stat was read: `reclaimable` is valid everywhere
  int64_t at_ns = 0;  // CLOCK_MONOTONIC
  Level levels[kMaxLevels];
};

// Which level binds, and how many bytes are left there. `level == UINT32_MAX` where nothing limits.
struct Headroom {
  Bytes bytes = kUnlimited;
  uint32_t level = UINT32_MAX;
};

// The level that binds; null where nothing limits. Pure.
inline const Level* binding(const Reading& reading, const Headroom& headroom) {
  return headroom.level < reading.level_count ? &reading.levels[headroom.level] : nullptr;
}

// Limits that count other processes too, a group's or the machine's. At these the kernel ends
// processes: at RLIMIT_AS and RLIMIT_DATA it refuses, and a budget is nobody's to kill for.
constexpr bool is_shared(LimitKind kind) {
  return kind == LimitKind::kCgroupV1 || kind == LimitKind::kCgroupV2 ||
         kind == LimitKind::kMachine;
}

// min over levels of limit - usage + reclaimable + swap that counts. What counts is the share of
// all swap that the level may use, less what it uses already, and never more than what is left.
// Never below INT64_MIN/2. Pure.
Headroom headroom(const Reading& reading, uint32_t swap_share_permille);

enum class Depth : uint8_t {
  kCheap,  // counters only: usage of each limited group, MemAvailable if it could bind (0.7-6 us)
  kFull,   // memory.stat too: reclaimable and swap (7 us more per level)
};

// A budget of oomguard's own, resolved to bytes (collector/options parses it).
struct Budget {
  Bytes bytes = kUnlimited;     // a size
  uint32_t share_permille = 0;  // or a share of the smallest kernel limit; 0 = none
};

}  // namespace oomguard::probe

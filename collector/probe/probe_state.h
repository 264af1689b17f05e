// What a Probe keeps between readings: resolved control groups, descriptors, cached values.
//
// Fixed-size, constant-initialised, trivially destructible and valid when all zero (nothing
// opened), so that a Probe may be a global of a preloaded library and costs no bytes in its file.
// Thread-safety: per member, said below. Callable from a hook: yes.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "collector/probe/kernel_file.h"
#include "collector/probe/reading.h"

namespace oomguard::probe {

inline constexpr size_t kMaxGroups = 16;
inline constexpr size_t kMaxRoot = 256;

// The files of one group that stay open, named differently by v1 and v2.
enum GroupFile : uint8_t {
  kUsageFile,
  kLimitFile,
  kHighFile,
  kStatFile,
  kSwapLimitFile,
  kSwapUsageFile,
  kGroupFileCount,
};
// The file's name, null where the version has none.
const char* group_file_name(LimitKind kind, GroupFile file);

// One memory group. Its limits are re-read by `refresh` and read by everybody: relaxed atomics,
// each a value of its own.
struct Group {
  LimitKind kind;
  bool is_process_group;  // the process itself lives here, not only below
  uint64_t key;           // of the directory
  std::atomic<Bytes> limit;
  std::atomic<bool> is_high;
  std::atomic<Bytes> swap_limit;  // v1: memory and swap together; v2: swap alone
  KernelFile files[kGroupFileCount];
  char path[kMaxPath];  // with Config::root before it
};

// The groups of a process, innermost first.
struct GroupTable {
  uint32_t count;
  bool ancestors_hidden;
  Group groups[kMaxGroups];
  char process_group[kMaxPath];  // directory of the process; may lack the memory controller
};

// Memory for resolving, used by whoever holds `refreshing`.
struct Scratch {
  char v1_path[kMaxPath];  // of /proc/PID/cgroup
  char v2_path[kMaxPath];
  char mount_root[kMaxPath];
  char mount_point[kMaxPath];
  char best_root[kMaxPath];
  char best_point[kMaxPath];
  char directory[kMaxPath];
};

struct State {
  // Written by `open` alone.
  char root[kMaxRoot];
  uint32_t root_length;
  int pid;
  char proc[kMaxRoot + 8];   // "/proc"
  char self[kMaxRoot + 24];  // "/proc/self" or "/proc/PID"
  Bytes budget_bytes;        // 0: none
  uint32_t budget_share_permille;
  const std::atomic<Bytes>* changing_budget;  // Config's

  // A moved process gets new groups: `refresh` writes the table that is not active, once its last
  // reader is gone, and then flips `active`. Readers count themselves in first and look again.
  std::atomic<uint32_t> active;
  std::atomic<uint32_t> readers[2];
  GroupTable tables[2];

  std::atomic<bool> refreshing;  // try-lock of `refresh`; a loser returns
  uint64_t cgroup_text_hash;     // under `refreshing`
  Scratch scratch;               // under `refreshing`

  KernelFile meminfo;
  KernelFile statm;
  KernelFile status;
  KernelFile cgroup;

  // Values of /proc/meminfo, each current at `machine_at_ns` or a little later.
  std::atomic<Bytes> mem_total;
  std::atomic<Bytes> mem_available;
  std::atomic<Bytes> swap_free;
  std::atomic<Bytes> swap_total;
  std::atomic<int64_t> machine_at_ns;

  std::atomic<Bytes> rlimit_as;  // 0: not limited
  std::atomic<Bytes> rlimit_data;
  std::atomic<Bytes> shmem;  // RssShmem, current at the last full reading or refresh
  std::atomic<Bytes> resident_text;
  std::atomic<Bytes> given_back;
  std::atomic<Bytes> others_usage;
  std::atomic<uint64_t> faults;
};

// Keeps the active table from being rewritten while it is read.
class TableReader {
 public:
  explicit TableReader(State& state);
  ~TableReader();
  TableReader(const TableReader&) = delete;
  TableReader& operator=(const TableReader&) = delete;

  GroupTable& operator*() const { return state_.tables[index_]; }
  GroupTable* operator->() const { return &state_.tables[index_]; }
  uint32_t index() const { return index_; }

 private:
  State& state_;
  uint32_t index_;
};

}  // namespace oomguard::probe

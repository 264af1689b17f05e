// What the guarded processes of one memory group tell each other: requests being decided, blocks
// being filled, recent growth. A small file in <dir>/groups/, keyed by the group, mapped shared.
//
// Each process owns one slot. Readers distrust it: a slot whose process is gone or whose heartbeat
// stopped counts for nothing, so that what a SIGKILLed neighbour had in flight comes back at once.
// Where the file cannot be made the process acts alone (fail open).
// Callable from a hook and from the raw thread: yes. Thread-safety: lock-free.
#pragma once

#include <atomic>
#include <cstdint>

namespace oomguard::budget {

class GroupTable {
 public:
  static constexpr uint32_t kSlots = 128;
  static constexpr int64_t kFreshNs = 1'000'000'000;

  struct alignas(128) Slot {
    std::atomic<int32_t> pid;          // 0: free
    std::atomic<int32_t> tree;         // process group, the unit of a configured budget
    std::atomic<int64_t> heartbeat_ns; // CLOCK_MONOTONIC of the newest publication
    std::atomic<int64_t> pending;      // bytes of requests being decided
    std::atomic<int64_t> in_flight;    // untouched bytes of young or moving blocks
    std::atomic<int64_t> growth;       // bytes grown in the last ~200 ms
    std::atomic<int64_t> anonymous;    // RssAnon + RssShmem
    std::atomic<uint32_t> wake;        // neighbours ask for a fresh sample (futex word)
  };

  // Maps the group's file and claims a slot. False: alone.
  bool open(const char* directory, uint64_t group_key) noexcept;
  void close_in_child() noexcept;  // after fork: the mapping stays, the slot is the parent's
  void leave() noexcept;           // clean exit

  bool joined() const noexcept { return own_ != nullptr; }
  Slot* own() noexcept { return own_; }

  struct Others {
    int64_t pending;
    int64_t in_flight;
    int64_t growth;           // sum
    int64_t largest_growth;   // of one process
    int64_t tree_anonymous;   // of the same tree
    uint32_t members;
  };
  // Sum over the other living slots. `tree`: whose anonymous memory is added up.
  Others others(int64_t now_ns, int32_t tree) const noexcept;
  // Asks the neighbours that have something in flight for a fresh sample and waits up to 3 ms.
  void refresh_others(int64_t now_ns) noexcept;
  bool guarded(int32_t pid) const noexcept;

 private:
  struct File {
    char magic[8];
    Slot slots[kSlots];  // the last byte of each is padding
  };
  static_assert(sizeof(Slot) == 128);
  File* file_ = nullptr;
  Slot* own_ = nullptr;
};

extern GroupTable group_table;

}  // namespace oomguard::budget

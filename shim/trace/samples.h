// The sampled blocks that are alive: which call stack asked for them, and how many bytes each
// stands for. Blocks above 1 MiB are in the ledger, which knows the same of each.
//
// A set-associative table of fixed size without locks, as the ledger is; `free` asks it only for
// what the block filter lets through. In a forked child it is empty: what it inherited is its
// parent's.
// Callable from a hook: yes. Thread-safety: all of it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace oomguard::trace {

struct Sample {
  uint32_t site = 0;    // 0: none (sites.h)
  uint32_t blocks = 0;  // how many blocks it stands for
  int64_t weight = 0;   // bytes it stands for
};

class Samples {
 public:
  // False: no place is left near it; nothing is recorded.
  bool add(uintptr_t address, const Sample& sample) noexcept;
  // False: unknown.
  bool remove(uintptr_t address, Sample* out) noexcept;
  uint32_t count() const noexcept { return count_.load(std::memory_order_relaxed); }
  // So many that others are pushed out of their places: the mean has to grow.
  bool is_crowded() const noexcept { return count() > kSlots / 2; }
  void on_fork_child() noexcept;

 private:
  static constexpr size_t kSlots = 32768;
  static constexpr size_t kProbe = 16;
  static constexpr uint64_t kBusy = 1;

  uint64_t key_of(uintptr_t address) const noexcept;

  struct Entry {
    std::atomic<uint32_t> site;
    std::atomic<uint32_t> blocks;
    std::atomic<int64_t> weight;
  };

  std::atomic<uint64_t> keys_[kSlots] = {};
  Entry entries_[kSlots] = {};
  std::atomic<uint32_t> count_{0};
  std::atomic<uint64_t> generation_{0};  // in each key's top byte: a fork empties the table at once
};

extern Samples samples;

}  // namespace oomguard::trace

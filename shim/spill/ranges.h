// The malloc blocks of which something is lent, each with its part of the file: the page at address
// A of a block lies at offset + (A - start), whether it is lent yet or not.
//
// Thread-safety: add and release from the raw thread while all others are stopped, the rest from
// any thread. Lock-free. Callable from a hook: yes.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace oomguard::spill {

struct Range {
  enum class State : uint32_t { kNone = 0, kLive, kFreed, kOrphan, kReturned };

  std::atomic<State> state;
  std::atomic<uintptr_t> block;  // as malloc returned it
  std::atomic<uintptr_t> start;
  std::atomic<uintptr_t> end;
  // Its mapping is in pieces now, and cannot be moved as one.
  std::atomic<bool> in_pieces;
  bool left;       // something of it is still lent: the raw thread's own note
  uint64_t offset;
  int64_t copied;  // bytes that were copied there
  int64_t freed;   // bytes that it still has in the file after it was freed; -1: not counted yet

  uint64_t size() const {
    return end.load(std::memory_order_relaxed) - start.load(std::memory_order_relaxed);
  }
  // kOrphan: the descriptor of its file is gone, its pages live on. kReturned: nothing of it is
  // lent any more, the block lives on.
  bool in_use() const {
    const State now = state.load(std::memory_order_acquire);
    return now == State::kLive || now == State::kOrphan;
  }
};

class Ranges {
 public:
  // Null where the table is full.
  Range* add(uintptr_t block, uintptr_t start, uintptr_t end, uint64_t offset) noexcept;
  // In use or returned.
  Range* find(uintptr_t block) noexcept;
  bool contains(uintptr_t address) noexcept { return overlaps(address, address + 1); }
  bool overlaps(uintptr_t from, uintptr_t to) noexcept;
  // The live one around [start, end), or null. Quick where it is asked in the order of addresses:
  // blocks are added in that order. From the raw thread.
  Range* live_around(uintptr_t start, uintptr_t end) noexcept;
  // It was lent and came back.
  bool was_returned(uintptr_t address) noexcept;
  // Marks for tend() what was freed.
  void forget(uintptr_t block) noexcept;
  // Of a block of which nothing is lent any more: it may be moved.
  void forget_returned(uintptr_t block) noexcept;
  void forget_range(uintptr_t address, uint64_t size) noexcept;
  template <typename Visit>
  void each(Visit visit) noexcept {
    const size_t used = used_.load(std::memory_order_acquire);
    for (size_t i = 0; i < used; ++i) {
      if (entries_[i].state.load(std::memory_order_acquire) != Range::State::kNone) {
        visit(entries_[i]);
      }
    }
  }
  void clear() noexcept;

 private:
  static constexpr size_t kCapacity = 4096;

  Range entries_[kCapacity] = {};
  std::atomic<size_t> used_{0};
  size_t found_ = 0;
};

extern Ranges ranges;
// Counts up each time that pages may have been lent or have come back, before the threads go on.
extern std::atomic<uint32_t> moves;

}  // namespace oomguard::spill

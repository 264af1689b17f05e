// The live blocks above 1 MiB: where they are, who asked, and how much of them is really there.
//
// Answers two questions: what is in flight (untouched bytes of blocks that other threads are
// filling right now), and which blocks are the largest (for the report). CPython's arenas are
// exactly 1 MiB and stay out.
//
// A set-associative table of fixed size without locks: a key is claimed by compare-and-swap, its
// entry is written, then published. A reader may see an entry that is being replaced; every use
// tolerates that (a page map of a range that is gone reads as untouched, which never lasts).
// Where a bucket is full the block is not recorded and counted in `dropped`.
// Callable from a hook and from the raw thread: yes.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "collector/probe/residency.h"

namespace oomguard::budget {

inline constexpr size_t kRecordedAbove = 1024 * 1024;

struct Block {
  uintptr_t address;
  int64_t size_bytes;
  int64_t touched_bytes;  // newest estimate, -1 none
  int64_t born_ns;
  uintptr_t caller;
  int32_t thread_id;
  bool from_heap;         // malloc family; else a mapping of the program's own
  uint32_t site = 0;      // of the call stack that asked (trace/sites.h), 0 unknown
  int64_t weight = 0;     // bytes that it stands for there
};

class Ledger {
 public:
  void add(const Block& block) noexcept;
  // Removes the block that starts at `address`; false: unknown. `out` may be null.
  bool remove(uintptr_t address, Block* out) noexcept;
  bool find(uintptr_t address, Block* out) const noexcept;
  // munmap of any range: forgets what lies inside, shortens what sticks out.
  void unmap(uintptr_t address, size_t size) noexcept;

  // Untouched bytes of blocks of threads other than `self` that are young or moving. Looks at the
  // pages of those blocks (every 2 ms at most), not at quiet ones: a skeleton of thousands of
  // blocks costs nothing.
  int64_t in_flight(int32_t self, int64_t now_ns, const probe::Residency& residency) noexcept;
  // The same without looking at any page: never less than in_flight.
  int64_t in_flight_bound(int32_t self, int64_t now_ns) noexcept;
  // `thread_id` asks for memory again. Blocks that it got at least kPassedOverNs ago count only
  // from now on if it has begun to fill them, or else once they are seen to move: it does something
  // else (a library's work memory, a sparse buffer). Returns whether blocks of its own are too new
  // for that.
  bool pass_over(int32_t thread_id, int64_t now_ns) noexcept;
  // Looks at the next `count` quiet blocks, in turns: is one of them being filled after all? The
  // watchdog does it while memory is short.
  void look_at_quiet(size_t count, int64_t now_ns, const probe::Residency& residency) noexcept;

  // What was not touched yet of malloc-family blocks that were made after `since_ns`, by the newest
  // looks. No look at any page.
  int64_t untouched_of_heap(int64_t since_ns = 0) noexcept;
  // The same of all blocks, after a look at those that were not looked at for a while.
  int64_t untouched(int64_t now_ns, const probe::Residency& residency) noexcept;

  // How late the watchdog's own sleep ends: threads of a busy machine have no turn for that long,
  // too, and what they were granted counts as being filled for longer. From the raw thread.
  void set_slip(int64_t slip_ns) noexcept {
    young_ns_.store(kYoungNs + 4 * slip_ns, std::memory_order_relaxed);
  }

  // The thread whose young or moving block is the largest; 0 where none is active.
  int32_t most_active_thread(int64_t now_ns) noexcept;

  // The largest blocks, largest first; returns how many.
  size_t largest(Block* out, size_t capacity) const noexcept;
  // The block in one slot of the table, for walks over all of them; false: none.
  static constexpr size_t slots() noexcept { return kSlots; }
  bool at(size_t slot, Block* out) const noexcept;
  // Each block that was not all there when it was looked at last.
  void each_incomplete(void (*visit)(const Block&)) const noexcept;
  int64_t total_bytes() const noexcept { return total_bytes_.load(std::memory_order_relaxed); }
  uint32_t count() const noexcept { return count_.load(std::memory_order_relaxed); }
  uint64_t dropped() const noexcept { return dropped_.load(std::memory_order_relaxed); }

  // In fork's child: the other threads are gone, nothing is in flight.
  void on_fork_child() noexcept;

  // Long enough for two arrays that are made one after the other and then filled.
  static constexpr int64_t kPassedOverNs = 5'000'000;

 private:
  static constexpr size_t kSlots = 16384;
  static constexpr size_t kProbe = 16;
  static constexpr int64_t kYoungNs = 100'000'000;
  static constexpr uintptr_t kBusy = 1;

  struct Entry {
    std::atomic<int64_t> size;
    std::atomic<int64_t> touched;
    std::atomic<int64_t> born_ns;
    std::atomic<int64_t> moved_ns;
    std::atomic<int64_t> sampled_ns;
    std::atomic<uintptr_t> caller;
    std::atomic<int32_t> thread_id;
    std::atomic<uint32_t> flags;
    std::atomic<uint32_t> site;
    std::atomic<int64_t> weight;
  };

  static size_t home(uintptr_t address) noexcept;
  size_t slot_of(uintptr_t address) const noexcept;  // kSlots where unknown
  using Bits = std::atomic<uint64_t>[kSlots / 64];
  static void set(Bits& bits, size_t slot, bool on) noexcept;
  void read(size_t slot, Block* out) const noexcept;
  void sample(size_t slot, int64_t now_ns, const probe::Residency& residency) noexcept;
  // Young or moving; clears the slot's active bit where it is neither any more.
  bool is_active(size_t slot, int64_t now_ns) noexcept;
  bool is_left_alone(size_t slot) noexcept;  // after a look at its pages
  template <typename Visit>
  static void each(const Bits& bits, Visit visit) noexcept;

  std::atomic<uintptr_t> keys_[kSlots] = {};
  Entry entries_[kSlots] = {};
  Bits incomplete_ = {};  // not all of it is there
  Bits active_ = {};      // of these, what is being filled
  Bits mapped_ = {};      // blocks that munmap may meet
  std::atomic<size_t> quiet_cursor_{0};
  std::atomic<int64_t> total_bytes_{0};
  std::atomic<uint32_t> count_{0};
  std::atomic<uint64_t> dropped_{0};
  std::atomic<int64_t> young_ns_{kYoungNs};
};

extern Ledger ledger;

}  // namespace oomguard::budget

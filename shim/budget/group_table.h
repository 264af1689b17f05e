// What the guarded processes of one memory group tell each other: requests being decided, blocks
// being filled, recent growth. A small file in <dir>/groups/, keyed by the group, mapped shared.
//
// It also says who belongs together: the processes that one guarded process started, and theirs,
// are a tree. Forked children know it; a program that was executed looks for its own slot, else for
// the nearest of its ancestors. So neither a session nor a process group of its own makes a
// stranger.
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
  static constexpr uint32_t kCards = 32;

  struct alignas(128) Slot {
    std::atomic<int32_t> pid;          // 0: free
    std::atomic<int32_t> origin;       // the member that this one descends from, 0: the tree's root
    std::atomic<int64_t> heartbeat_ns; // CLOCK_MONOTONIC of the newest publication
    std::atomic<int64_t> pending;      // bytes of requests being decided
    std::atomic<int64_t> in_flight;    // untouched bytes of young or moving blocks
    std::atomic<int64_t> growth;       // bytes grown in the last ~200 ms
    std::atomic<int64_t> pace;  // bytes that it may grow by in a millisecond; 0: it stands still
    std::atomic<int64_t> bytes;        // RssAnon + RssShmem, less what a relative counts
    std::atomic<uint64_t> start_ticks; // of the process: a number is given again
    std::atomic<uint64_t> tree;        // the same for all of one tree
    std::atomic<uint64_t> budget;      // the one it counts against: a tree may have several
    std::atomic<int32_t> child_score;  // oom_score_adj that its children get (children/oom_score.h)
    std::atomic<uint32_t> wake;        // neighbours ask for a fresh sample (futex word)
    std::atomic<int64_t> ends_ns;  // since when it is about to end with its report; 0: it is not
    std::atomic<int64_t>
        stands_ns;  // since when it stands still for another one to act; 0: it does not
  };

  // Maps the group's file and claims a slot. False: alone. `budget` tells configured budgets apart.
  bool open(const char* directory, uint64_t group_key, uint64_t budget = 0) noexcept;
  // This process is the root of a tree, whoever started it. Before `open`.
  void begin_tree() noexcept;
  void close_in_child() noexcept;  // after fork: the mapping stays, the slot is the parent's
  void leave() noexcept;           // clean exit

  bool joined() const noexcept { return own() != nullptr; }
  Slot* own() const noexcept { return own_.load(std::memory_order_acquire); }
  uint64_t tree() const noexcept { return tree_; }
  int32_t origin() const noexcept { return origin_; }
  // What the tree's children get, found with the tree.
  int32_t child_score() const noexcept { return child_score_; }
  void set_child_score(int32_t score) noexcept;

  struct Others {
    int64_t pending;
    int64_t in_flight;
    int64_t growth;           // sum
    int64_t largest_growth;   // of one process that goes on
    int64_t pace;             // sum
    int64_t tree_bytes;       // what those of the same tree and budget hold
    uint32_t members;
    bool ends;                // one of them is about to end: room is on its way
    bool goes_on;             // one of them grows and does not stand still
    bool stands_before;       // one that stands still is to act before this one
  };
  // Sum over the other living slots. `tree`: whose memory is added up.
  Others others(int64_t now_ns, uint64_t tree) const noexcept;
  // Frees the slots of processes that ended, a few at each call. The raw thread's: it opens
  // descriptors.
  void sweep(int64_t now_ns) noexcept;
  // Asks the neighbours that have something in flight for a fresh sample and waits up to 3 ms.
  void refresh_others(int64_t now_ns) noexcept;
  bool guarded(int32_t pid) const noexcept;
  // Where this process publishes what it holds on the card that `key` tells from all others (never
  // 0); null where there is no room for one more. Callable from hooks.
  std::atomic<int64_t>* card(uint64_t key) noexcept;
  // What the other processes of the same tree hold on the card of that place.
  int64_t others_on_card(const std::atomic<int64_t>* own_place) const noexcept;
  // The raw thread's: see resident.h.
  void keep_resident() const noexcept;
  // Changes what the others see of this process's blocks until the watchdog's next look; never
  // below 0. Callable from hooks.
  void add_in_flight(int64_t bytes) noexcept;

 private:
  struct File {
    char magic[8];
    Slot slots[kSlots];  // the last byte of each is padding
    std::atomic<uint64_t> cards[kCards];  // keys; 0: free
    std::atomic<int64_t> held[kSlots][kCards];
  };
  static_assert(sizeof(Slot) == 128);
  File* file() const noexcept { return file_.load(std::memory_order_acquire); }
  const Slot* find(int32_t pid, uint64_t start_ticks) const noexcept;
  void find_tree(int32_t pid, uint64_t start_ticks) noexcept;

  std::atomic<File*> file_{nullptr};
  std::atomic<Slot*> own_{nullptr};
  uint64_t tree_ = 0;
  uint64_t budget_ = 0;
  int32_t origin_ = 0;
  int32_t pid_ = 0;
  int32_t child_score_ = 0;
  uint32_t swept_ = 0;
};

extern GroupTable group_table;

}  // namespace oomguard::budget

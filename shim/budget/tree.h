// What a configured budget counts: the guarded processes of one tree, each page once.
//
// Every member publishes what it holds less what a relative publishes already: pages that it got by
// fork and has not written to since, and shared memory that it maps too. How much that is, the
// kernel says only by walking every page table, so it is estimated in between (see Share). Callable
// from a hook and from the raw thread: as said below.
#pragma once

#include <atomic>
#include <cstdint>

#include "collector/probe/probe.h"
#include "collector/probe/process.h"
#include "shim/budget/lines.h"

namespace oomguard::budget::tree {

// Bytes of this process that its relatives count. `inherited`: what it held when it was forked.
// Where the process it got them from is gone, every sharer counts its part.
Bytes counted_elsewhere(const probe::MemoryShares& shares, Bytes inherited, bool origin_lives);

// When to have the page tables walked: after enough page faults (each page that is written to for
// the first time is one), and never for more than a small part of the time.
class Share {
 public:
  // By a forked child's first slow path; 0 in any other process.
  void inherit(Bytes bytes) noexcept { inherited_.store(bytes, std::memory_order_relaxed); }
  Bytes inherited() const noexcept { return inherited_.load(std::memory_order_relaxed); }
  // The rest by one thread.
  void begin(uint64_t faults) noexcept;
  bool is_due(uint64_t faults, Bytes shareable, bool near, int64_t now_ns) const noexcept;
  void measured(Bytes elsewhere, uint64_t faults, int64_t cost_ns, int64_t now_ns) noexcept;
  Bytes elsewhere() const noexcept { return elsewhere_; }

 private:
  std::atomic<Bytes> inherited_{0};
  Bytes elsewhere_ = 0;
  uint64_t faults_ = 0;
  int64_t cost_ns_ = 0;
  int64_t at_ns_ = 0;
};

// Claims this process's slot in the table of its group, once, whoever comes first: the first slow
// path or the watchdog. `eyes` knows the group.
void join(const probe::Probe& eyes) noexcept;
void on_fork_child() noexcept;
void on_fork_parent() noexcept;
// This process was forked, or forked another one. And what it faulted in so far, each page once or
// more.
bool may_share_pages() noexcept;
Bytes faulted_bytes() noexcept;
// One look of the watchdog: `memory` is RssAnon and RssShmem of this process. Publishes its part
// and tells both probes what the rest of the tree holds. Members that have ended are looked for by
// opening what the kernel charges to the group: not where `room` is kNone.
enum class Room { kFar, kNear, kNone };
void look(probe::Probe& eyes, Bytes memory, Room room, int64_t now_ns) noexcept;
// The watchdog's thread begins.
void begin_looks() noexcept;
// What this process held at the watchdog's last look: what its child shares with it at most.
Bytes last_known_memory() noexcept;

}  // namespace oomguard::budget::tree

// A person is told that memory gets scarce while there is still something to be done about it: one
// line in the running cell, from a tenth of the limit on (or twice the reserve, where that is
// more), at most every 30 s, and again only where more is in use than when it was said.
// While more than half of the limit is in use its printer is also asked, every half second, whether
// a model is being loaded, whose progress it shows.
// Nobody is interrupted for either: some thread's next slow path has the main thread print it
// between two bytecodes (shim/core/chores.h).
// Thread-safe: atomics; of two looks at once one counts. Callable from a hook and from the raw
// thread: yes.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "shim/budget/lines.h"

namespace oomguard::budget {

class Notice {
 public:
  // There is somebody who prints it. Never before.
  void allow() noexcept { allowed_.store(true, std::memory_order_relaxed); }
  void look(Bytes needed, Bytes limit, Bytes headroom, Bytes reserve, int64_t now_ns) noexcept {
    if (!allowed_.load(std::memory_order_relaxed)) return;
    if (headroom >= std::max(limit / 10, 2 * reserve)) {
      said_at_.store(0, std::memory_order_relaxed);
      return;
    }
    const int64_t said_ns = said_ns_.load(std::memory_order_relaxed);
    const Bytes said_at = said_at_.load(std::memory_order_relaxed);
    if ((said_ns != 0 && now_ns - said_ns < kPauseNs) || needed < said_at + limit / 100) return;
    needed_.store(needed, std::memory_order_relaxed);
    due_.store(true, std::memory_order_release);
  }
  // May be told too much.
  void look_at_load(Bytes needed, Bytes limit, int64_t now_ns) noexcept {
    if (!allowed_.load(std::memory_order_relaxed) || needed <= limit / 2) return;
    if (now_ns - asked_ns_.load(std::memory_order_relaxed) < kProgressNs) return;
    progress_due_.store(true, std::memory_order_relaxed);
  }
  bool due() const noexcept { return due_.load(std::memory_order_relaxed); }
  // The same of a load's progress; each answer is followed by half a second of none.
  bool progress_due() const noexcept { return progress_due_.load(std::memory_order_relaxed); }
  bool take_progress(int64_t now_ns) noexcept {
    if (!progress_due_.exchange(false, std::memory_order_relaxed)) return false;
    asked_ns_.store(now_ns, std::memory_order_relaxed);
    return true;
  }
  // It is about to be printed. False: somebody else does.
  bool take(int64_t now_ns) noexcept {
    if (!due_.exchange(false, std::memory_order_acquire)) return false;
    said_ns_.store(now_ns, std::memory_order_relaxed);
    said_at_.store(needed_.load(std::memory_order_relaxed), std::memory_order_relaxed);
    return true;
  }

 private:
  static constexpr int64_t kPauseNs = 30'000'000'000;
  static constexpr int64_t kProgressNs = 500'000'000;

  std::atomic<bool> allowed_{false};
  std::atomic<bool> due_{false};
  std::atomic<Bytes> needed_{0};   // of the limit, when it became due
  std::atomic<Bytes> said_at_{0};  // the same of the last one; 0: there was room since
  std::atomic<int64_t> said_ns_{0};
  std::atomic<bool> progress_due_{false};
  std::atomic<int64_t> asked_ns_{0};  // for a load's progress
};

}  // namespace oomguard::budget

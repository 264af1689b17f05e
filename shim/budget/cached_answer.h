// The kernel's last answer about the room that is left, used again while nobody can have filled
// half of it: half of the room may be handed out from it. (docs/design.md "Admission", step 2) What
// is spent only counts up, and wraps: differences of it are what matters. Thread-safe: atomics
// only; an answer that is replaced while it is used costs a little room, never more than half of
// it. Callable from a hook and from the raw thread: yes.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "shim/budget/lines.h"

namespace oomguard::budget {

class CachedAnswer {
 public:
  // Everything spent so far. Read before the kernel is asked: what is granted later is not in its
  // answer.
  Bytes spent() const noexcept { return spent_.load(std::memory_order_acquire); }
  void spend(Bytes size) noexcept { spent_.fetch_add(size, std::memory_order_relaxed); }
  // What limits changed: no answer helps that is given, or for which the kernel was asked, before
  // this. What somebody is about to set would outlive forget().
  void outdate() noexcept { spent_.fetch_add(kOutdated, std::memory_order_acq_rel); }
  // `room` may be handed out beyond `spent` until `valid_until_ns`.
  void set(Bytes spent, Bytes room, int64_t valid_until_ns) noexcept {
    const uint64_t allowed =
        static_cast<uint64_t>(spent) + static_cast<uint64_t>(std::min(room, kMostRoom));
    allowed_.store(static_cast<Bytes>(allowed), std::memory_order_relaxed);
    valid_until_ns_.store(valid_until_ns, std::memory_order_relaxed);
  }
  void forget() noexcept { valid_until_ns_.store(0, std::memory_order_relaxed); }

  bool valid(int64_t now_ns) const noexcept {
    return now_ns < valid_until_ns_.load(std::memory_order_relaxed);
  }
  Bytes room() const noexcept { return beyond(spent()); }
  // Spends `size` if it is there. False: too much, although it stays counted as spent.
  bool take(Bytes size) noexcept {
    return beyond(spent_.fetch_add(size, std::memory_order_acquire)) >= size;
  }

 private:
  static constexpr Bytes kMostRoom = Bytes{1} << 46;
  static constexpr Bytes kOutdated = 2 * kMostRoom;

  Bytes beyond(Bytes spent) const noexcept {
    const uint64_t allowed = static_cast<uint64_t>(allowed_.load(std::memory_order_relaxed));
    return static_cast<Bytes>(allowed - static_cast<uint64_t>(spent));
  }

  std::atomic<Bytes> allowed_{0};
  std::atomic<int64_t> valid_until_ns_{0};
  std::atomic<Bytes> spent_{0};
};

}  // namespace oomguard::budget

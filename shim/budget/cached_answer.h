// The kernel's last answer about the room that is left, used again while nobody can have filled half
// of it: half of the room may be handed out from it. (docs/design.md "Admission", step 2)
// Thread-safe: atomics only; an answer that is replaced while it is used costs a little room, never
// more than half of it. Callable from a hook and from the raw thread: yes.
#pragma once

#include <atomic>
#include <cstdint>

#include "shim/budget/lines.h"

namespace oomguard::budget {

class CachedAnswer {
 public:
  // Everything spent so far. Read before the kernel is asked: what is granted later is not in its answer.
  Bytes spent() const noexcept { return spent_.load(std::memory_order_relaxed); }
  void spend(Bytes size) noexcept { spent_.fetch_add(size, std::memory_order_relaxed); }
  // `room` may be handed out beyond `spent` until `valid_until_ns`.
  void set(Bytes spent, Bytes room, int64_t valid_until_ns) noexcept {
    allowed_.store(spent + room, std::memory_order_relaxed);
    valid_until_ns_.store(valid_until_ns, std::memory_order_relaxed);
  }
  void forget() noexcept { valid_until_ns_.store(0, std::memory_order_relaxed); }

  bool valid(int64_t now_ns) const noexcept {
    return now_ns < valid_until_ns_.load(std::memory_order_relaxed);
  }
  Bytes room() const noexcept { return allowed_.load(std::memory_order_relaxed) - spent(); }
  // Spends `size` if it is there. False: too much, although it stays counted as spent.
  bool take(Bytes size) noexcept {
    return spent_.fetch_add(size, std::memory_order_relaxed) + size <=
           allowed_.load(std::memory_order_relaxed);
  }

 private:
  std::atomic<Bytes> allowed_{0};
  std::atomic<int64_t> valid_until_ns_{0};
  std::atomic<Bytes> spent_{0};
};

}  // namespace oomguard::budget

// Finds what was interned before: an index of fixed size in private memory from a hash to a
// record's number.
//
// Open addressing without removal and without locks. A word of a slot holds the number, part of the
// hash and a generation, so that a forked child empties the index by counting that up. Two threads
// that insert the same at once agree on one of them; the other's record stays unused.
// Callable from a hook: yes. Thread-safety: all of it, except forget_all (in fork's child).
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace oomguard::trace {

// Spreads the bits of what is hashed; the way of splitmix64.
constexpr uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}
constexpr uint64_t combine(uint64_t hash, uint64_t value) {
  return mix(hash * 0x9E3779B97F4A7C15ull + value);
}

template <size_t kSlots>
class Index {
 public:
  static constexpr uint32_t kMostNumber = (1u << 24) - 1;

  // The number under `hash` for which is_same(number) holds; else make() is inserted, which gives a
  // number from 1 to kMostNumber, or 0 where there is no place for another. 0: none.
  template <typename IsSame, typename Make>
  uint32_t find_or_insert(uint64_t hash, IsSame is_same, Make make) noexcept {
    uint32_t made = 0;
    for (size_t i = 0; i < 2 * kProbe; ++i) {
      std::atomic<uint64_t>& slot =
          i < kProbe ? first_[(hash + i) % kFirst] : slots_[(hash + i) % kSlots];
      uint64_t seen = slot.load(std::memory_order_acquire);
      while (!is_current(seen)) {
        if (made == 0) made = make();
        if (made == 0) return 0;
        const uint64_t word = tag_of(hash) | made;
        if (slot.compare_exchange_weak(seen, word, std::memory_order_acq_rel)) return made;
      }
      const auto number = static_cast<uint32_t>(seen & kMostNumber);
      if ((seen & ~uint64_t{kMostNumber}) == tag_of(hash) && is_same(number)) return number;
    }
    // Crowded: written again each time it is met, until its section is full.
    return made != 0 ? made : make();
  }

  void forget_all() noexcept {
    const uint64_t next = generation_.load(std::memory_order_relaxed) % 255 + 1;
    if (next == 1) {  // what was written under this number long ago would count again
      for (auto& slot : first_) slot.store(0, std::memory_order_relaxed);
      for (auto& slot : slots_) slot.store(0, std::memory_order_relaxed);
    }
    generation_.store(next, std::memory_order_relaxed);
  }

 private:
  static constexpr size_t kProbe = 16;
  // Tried first: each page that a program's first stacks are spread over is a page fault, and memory
  // of its own.
  static constexpr size_t kFirst = std::min(kSlots, std::max<size_t>(kSlots / 32, 1024));
  static_assert((kSlots & (kSlots - 1)) == 0);

  // 32 bits of hash, 8 of generation, 24 of number.
  uint64_t tag_of(uint64_t hash) const noexcept {
    return (hash & 0xffffffff00000000ull) | generation_.load(std::memory_order_relaxed) << 24;
  }
  bool is_current(uint64_t word) const noexcept {
    return (word >> 24 & 0xff) == generation_.load(std::memory_order_relaxed);
  }

  std::atomic<uint64_t> first_[kFirst] = {};
  std::atomic<uint64_t> slots_[kSlots] = {};
  std::atomic<uint64_t> generation_{1};
};

}  // namespace oomguard::trace

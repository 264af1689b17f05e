// What is known of the frames of return addresses that were met before: where the caller's stack
// pointer and registers are, in the few forms that nearly all frames have.
//
// Fixed size, no lock: a reader that meets a writer, or another address's rule, gets nothing and
// reads the module's tables. A rule carries a stamp of the module it is from, because another one
// may be loaded at the same place. A thread that is killed or forked away in the middle of writing
// leaves its place unusable. Thread-safety: all. Callable from a hook and from a signal handler:
// yes.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>

#include "shim/trace/registers.h"

namespace oomguard::trace {

enum class RuleKind : uint8_t {
  kOffset,    // the frame address is a register + an offset
  kLoaded,    // it lies at a register + an offset (the stack pointer was aligned)
  kRow,       // read the module's tables each time: signal frames, code written by hand
  kOutermost,  // nobody called
  kUnknown,   // the module does not say
};

// Of the preserved registers: where the caller's lies.
inline constexpr int16_t kStaysSame = INT16_MAX;
inline constexpr int16_t kIsLost = INT16_MIN;

struct Rule {
  uint32_t stamp;
  int32_t offset;         // bytes
  RuleKind kind;
  uint8_t number;         // the register of the frame address
  uint16_t from_frame;    // a bit for each preserved register: counted from the frame register, not
                          // from the frame address
  int16_t places[kPreservedCount];  // in units of 8 bytes
};

class RuleCache {
 public:
  [[nodiscard]] bool find(uintptr_t address, uint32_t stamp, Rule* out) noexcept {
    Place* const pair = places_ + 2 * slot(address);
    return pair[0].read(address, stamp, out) || pair[1].read(address, stamp, out);
  }
  void store(uintptr_t address, const Rule& rule) noexcept {
    Place* const pair = places_ + 2 * slot(address);
    Place* place = pair[0].is_of(address) || pair[0].is_of(0) ? pair : pair + 1;
    if (!place->is_of(address) && !place->is_of(0)) {
      place = pair + (turn_.fetch_add(1, std::memory_order_relaxed) & 1);
    }
    place->write(address, rule);
  }

 private:
  static constexpr size_t kPairs = 2048;
  static constexpr size_t kWords = (sizeof(Rule) + 7) / 8;

  static size_t slot(uintptr_t address) {
    const uint64_t spread = address * 0x9e3779b97f4a7c15u;
    return ((spread ^ spread >> 32) * 0xbf58476d1ce4e5b9u) >> (64 - 11);
  }
  static_assert(kPairs == size_t{1} << 11);

  // `sequence` is odd while somebody writes.
  struct alignas(64) Place {
    std::atomic<uint32_t> sequence;
    std::atomic<uint64_t> address;
    std::atomic<uint64_t> words[kWords];

    bool is_of(uintptr_t wanted) const { return address.load(std::memory_order_relaxed) == wanted; }
    bool read(uintptr_t wanted, uint32_t stamp, Rule* out) const {
      const uint32_t before = sequence.load(std::memory_order_acquire);
      if ((before & 1) != 0 || !is_of(wanted)) return false;
      uint64_t copy[kWords];
      for (size_t i = 0; i < kWords; ++i) copy[i] = words[i].load(std::memory_order_relaxed);
      std::atomic_thread_fence(std::memory_order_acquire);  // pairs with the release in write()
      if (sequence.load(std::memory_order_relaxed) != before) return false;
      memcpy(out, copy, sizeof *out);
      return out->stamp == stamp;
    }
    void write(uintptr_t of, const Rule& rule) {
      uint32_t before = sequence.load(std::memory_order_relaxed);
      if ((before & 1) != 0 ||
          !sequence.compare_exchange_strong(before, before + 1, std::memory_order_acquire)) {
        return;
      }
      uint64_t copy[kWords] = {};
      memcpy(copy, &rule, sizeof rule);
      std::atomic_thread_fence(std::memory_order_release);
      address.store(of, std::memory_order_relaxed);
      for (size_t i = 0; i < kWords; ++i) words[i].store(copy[i], std::memory_order_relaxed);
      sequence.store(before + 2, std::memory_order_release);
    }
  };
  static_assert(sizeof(Place) == 64);

  std::atomic<uint32_t> turn_{0};
  Place places_[2 * kPairs];
};

}  // namespace oomguard::trace

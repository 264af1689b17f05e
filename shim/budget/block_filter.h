// Answers "may this pointer be one that the ledger or the samples know?" on the path of every free:
// two compares for what lies below the lowest block that was ever recorded (libc's own heap lies
// below its mappings), else about five instructions and one load from 64 KiB.
//
// Sampled blocks lie in that heap, too. So small ones are asked for with an alignment that few
// others have (is_marked), and what has it is looked up wherever it lies. That of a page is not
// rare enough: the heap keeps a border where such a block ended, so that in the end an eighth of a small
// heap's blocks began a page, which cost a loop of malloc and free 4%.
//
// A counting filter over pointer hashes. No means no; yes means: look it up. A counter that ever
// reached 255 stays there (its pointers always take the slow path). Thread-safe: relaxed atomics; a
// block's own insertion happens before its pointer is known to anybody who could free it.
// Callable from a hook: yes.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace oomguard::budget {

class BlockFilter {
 public:
  static constexpr uintptr_t kMark = 16384;  // alignment
  static constexpr bool is_marked(uintptr_t address) noexcept { return address % kMark == 0; }

  bool may_contain(const void* pointer) const noexcept {
    const auto address = reinterpret_cast<uintptr_t>(pointer);
    if (!is_marked(address) && address < lowest_.load(std::memory_order_relaxed)) return false;
    return counters_[slot(pointer)].load(std::memory_order_relaxed) != 0;
  }
  void add(const void* pointer) noexcept {
    uintptr_t lowest = lowest_.load(std::memory_order_relaxed);
    const auto address = reinterpret_cast<uintptr_t>(pointer);
    while (!is_marked(address) && address < lowest &&
           !lowest_.compare_exchange_weak(lowest, address, std::memory_order_relaxed)) {
    }
    std::atomic<uint8_t>& counter = counters_[slot(pointer)];
    uint8_t seen = counter.load(std::memory_order_relaxed);
    while (seen != kSticky && !counter.compare_exchange_weak(seen, static_cast<uint8_t>(seen + 1),
                                                             std::memory_order_relaxed)) {
    }
  }
  void remove(const void* pointer) noexcept {
    std::atomic<uint8_t>& counter = counters_[slot(pointer)];
    uint8_t seen = counter.load(std::memory_order_relaxed);
    while (seen != kSticky && seen != 0 &&
           !counter.compare_exchange_weak(seen, static_cast<uint8_t>(seen - 1),
                                          std::memory_order_relaxed)) {
    }
  }

 private:
  static constexpr unsigned kBits = 16;
  static constexpr uint8_t kSticky = 255;

  static size_t slot(const void* pointer) noexcept {
    const uint64_t key = reinterpret_cast<uintptr_t>(pointer) >> 4;
    return static_cast<size_t>((key * 0x9E3779B97F4A7C15ull) >> (64 - kBits));
  }

  std::atomic<uintptr_t> lowest_{UINTPTR_MAX};
  std::atomic<uint8_t> counters_[size_t{1} << kBits] = {};
};

extern BlockFilter block_filter;

}  // namespace oomguard::budget

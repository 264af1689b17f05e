#include "shim/spill/ranges.h"

namespace oomguard::spill {

constinit Ranges ranges;
constinit std::atomic<uint32_t> moves{0};

Range* Ranges::add(uintptr_t block, uintptr_t start, uintptr_t end, uint64_t offset) noexcept {
  for (size_t i = 0; i < kCapacity; ++i) {
    Range& range = entries_[i];
    if (range.state.load(std::memory_order_acquire) != Range::State::kNone) continue;
    range.block.store(block, std::memory_order_relaxed);
    range.start.store(start, std::memory_order_relaxed);
    range.end.store(end, std::memory_order_relaxed);
    range.offset = offset;
    range.copied = 0;
    range.freed = -1;
    range.in_pieces.store(false, std::memory_order_relaxed);
    range.state.store(Range::State::kLive, std::memory_order_release);
    if (i >= used_.load(std::memory_order_relaxed)) used_.store(i + 1, std::memory_order_release);
    return &range;
  }
  return nullptr;
}

Range* Ranges::find(uintptr_t block) noexcept {
  Range* found = nullptr;
  each([&](Range& range) {
    const bool returned = range.state.load(std::memory_order_acquire) == Range::State::kReturned;
    if ((returned || range.in_use()) && range.block.load(std::memory_order_relaxed) == block) {
      found = &range;
    }
  });
  return found;
}

bool Ranges::overlaps(uintptr_t from, uintptr_t to) noexcept {
  bool found = false;
  each([&](Range& range) {
    if (range.in_use() && to > range.start.load(std::memory_order_relaxed) &&
        from < range.end.load(std::memory_order_relaxed)) {
      found = true;
    }
  });
  return found;
}

Range* Ranges::live_around(uintptr_t start, uintptr_t end) noexcept {
  const size_t used = used_.load(std::memory_order_acquire);
  for (size_t i = 0; i < used; ++i) {
    const size_t at = (found_ + i) % used;
    Range& range = entries_[at];
    if (range.state.load(std::memory_order_acquire) != Range::State::kLive ||
        start < range.start.load(std::memory_order_relaxed) ||
        end > range.end.load(std::memory_order_relaxed)) {
      continue;
    }
    found_ = at;
    return &range;
  }
  return nullptr;
}

bool Ranges::was_returned(uintptr_t address) noexcept {
  bool found = false;
  each([&](Range& range) {
    if (range.state.load(std::memory_order_acquire) == Range::State::kReturned &&
        address >= range.start.load(std::memory_order_relaxed) &&
        address < range.end.load(std::memory_order_relaxed)) {
      found = true;
    }
  });
  return found;
}

namespace {

// An orphan's space comes back with the last of its file's mappings.
void free_range(Range& range, bool whole) noexcept {
  Range::State expected = Range::State::kLive;
  const auto freed = whole ? Range::State::kFreed : Range::State::kNone;
  if (range.state.compare_exchange_strong(expected, freed, std::memory_order_acq_rel)) return;
  for (Range::State other : {Range::State::kOrphan, Range::State::kReturned}) {
    range.state.compare_exchange_strong(other, Range::State::kNone, std::memory_order_acq_rel);
  }
}

}  // namespace

void Ranges::forget(uintptr_t block) noexcept {
  if (Range* range = find(block); range != nullptr) free_range(*range, true);
}

void Ranges::forget_returned(uintptr_t block) noexcept {
  Range* range = find(block);
  Range::State expected = Range::State::kReturned;
  if (range != nullptr) range->state.compare_exchange_strong(expected, Range::State::kNone);
}

void Ranges::forget_range(uintptr_t address, uint64_t size) noexcept {
  const uintptr_t end = address + size;
  each([&](Range& range) {
    const uintptr_t range_start = range.start.load(std::memory_order_relaxed);
    const uintptr_t range_end = range.end.load(std::memory_order_relaxed);
    if (range_start >= end || range_end <= address) return;
    // Cut by the program itself: what is left of it stays on the file, which nobody punches then.
    free_range(range, range_start >= address && range_end <= end);
  });
}

void Ranges::clear() noexcept {
  each([](Range& range) { range.state.store(Range::State::kNone, std::memory_order_release); });
  used_.store(0, std::memory_order_release);
}

}  // namespace oomguard::spill

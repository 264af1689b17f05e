// Adds to the sections of a flight file.
//
// Thread-safety: any number of threads at once. Callable from a hook: yes (no lock, no allocation).
#pragma once

#include <string.h>

#include <atomic>
#include <cstdint>

#include "collector/record/layout.h"

namespace oomguard::record {

inline constexpr uint32_t kNoRecord = ~uint32_t{0};

// The index of the first of `count` new records (of strings: bytes), which are zero. kNoRecord
// where there is no room for them; then `dropped` counts one more.
inline uint32_t claim(std::atomic<uint32_t>& used, std::atomic<uint32_t>& dropped,
                      uint32_t capacity, uint32_t count) {
  uint32_t first = used.load(std::memory_order_relaxed);
  do {
    if (first > capacity || count > capacity - first) {
      dropped.fetch_add(1, std::memory_order_relaxed);
      return kNoRecord;
    }
  } while (!used.compare_exchange_weak(first, first + count, std::memory_order_relaxed));
  return first;
}

// The same of a section.
inline uint32_t claim(const View& view, Section which, uint32_t count = 1) {
  const uint32_t capacity = view.capacity(which);
  if (capacity == 0) return kNoRecord;
  SectionRecord& section = view.section(which);
  return claim(section.used, section.dropped, capacity, count);
}

// How many records of a section were claimed; the newest may not be written yet.
inline uint32_t claimed(const View& view, Section which) {
  const uint32_t used = view.section(which).used.load(std::memory_order_acquire);
  const uint32_t capacity = view.capacity(which);
  return used < capacity ? used : capacity;
}

// A new string of `length` bytes, cut off after kLongestString; its id, 0 ("") where there is no
// room. Whoever refers to it publishes that with release order.
inline uint32_t add_string(const View& view, const char* text, size_t length) {
  if (length > kLongestString) length = kLongestString;
  if (length == 0) return 0;
  const uint32_t id = claim(view, Section::kStrings, static_cast<uint32_t>(length) + 1);
  if (id == kNoRecord) return 0;
  memcpy(view.strings + id, text, length);  // its end is zero already
  return id;
}

}  // namespace oomguard::record

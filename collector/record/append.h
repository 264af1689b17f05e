// Adds to the sections of a flight file.
//
// Thread-safety: any number of threads at once. Callable from a hook: yes (no lock, no allocation).
#pragma once

#include <string.h>

#include "collector/record/layout.h"

namespace oomguard::record {

inline constexpr uint32_t kNoRecord = ~uint32_t{0};

// The index of the first of `count` new records (of strings: bytes), which are zero. kNoRecord where the
// section is full; then `dropped` counts one more.
inline uint32_t claim(const View& view, Section which, uint32_t count = 1) {
  const uint32_t capacity = view.capacity(which);
  if (capacity == 0) return kNoRecord;
  SectionRecord& section = view.section(which);
  uint32_t used = section.used.load(std::memory_order_relaxed);
  do {
    if (used > capacity || count > capacity - used) {
      section.dropped.fetch_add(1, std::memory_order_relaxed);
      return kNoRecord;
    }
  } while (!section.used.compare_exchange_weak(used, used + count, std::memory_order_relaxed));
  return used;
}

// A new string of `length` bytes, cut off after kLongestString; its id, 0 ("") where there is no room.
// Whoever refers to it publishes that with release order.
inline uint32_t add_string(const View& view, const char* text, size_t length) {
  if (length > kLongestString) length = kLongestString;
  if (length == 0) return 0;
  const uint32_t id = claim(view, Section::kStrings, static_cast<uint32_t>(length) + 1);
  if (id == kNoRecord) return 0;
  memcpy(view.strings + id, text, length);  // its end is zero already
  return id;
}

}  // namespace oomguard::record

// Which pages of a range of private anonymous memory hold nothing: absent and not swapped, or
// present and all zero (the zero page, the rest of a huge page that holds something, a page that
// fork left shared). Of present pages only their content proves it.
//
// Thread-safety: one caller at a time, while nobody writes to the range. From the raw thread only.
#pragma once

#include <cstddef>
#include <cstdint>

namespace oomguard::spill {

// The pages that one huge page covers.
inline constexpr size_t kRegionPages = 512;

struct PageSet {
  uint64_t holds[kRegionPages / 64];  // bit i: page i holds something
  size_t count;                       // pages looked at
  size_t filled;                      // of them, those that hold something
  size_t shared;                      // of those, pages that a fork left shared

  bool holds_something(size_t page) const { return (holds[page / 64] >> (page % 64) & 1) != 0; }
};

// Looks at `count` pages (at most kRegionPages) from `start`; `pagemap` is /proc/self/pagemap.
// `by_content`: present pages may be looked into. False: the kernel does not tell.
[[nodiscard]] bool look_at_pages(int pagemap, uintptr_t start, size_t count, bool by_content,
                                 PageSet* out) noexcept;

}  // namespace oomguard::spill

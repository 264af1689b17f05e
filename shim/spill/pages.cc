#include "shim/spill/pages.h"

#include "collector/probe/kernel_text.h"
#include "collector/probe/syscall.h"

namespace oomguard::spill {
namespace {

constexpr uint64_t kExclusive = uint64_t{1} << 56;
constexpr uint64_t kGuard = uint64_t{1} << 58;
constexpr uint64_t kFilePage = uint64_t{1} << 61;
constexpr uint64_t kSwapped = uint64_t{1} << 62;
constexpr uint64_t kPresent = uint64_t{1} << 63;

constinit uint64_t g_entries[kRegionPages];

bool is_zero(uintptr_t page, size_t page_size) {
  const auto* word = reinterpret_cast<const volatile uint64_t*>(page);
  for (size_t i = 0; i < page_size / sizeof(uint64_t); i += 8) {
    if ((word[i] | word[i + 1] | word[i + 2] | word[i + 3] | word[i + 4] | word[i + 5] |
         word[i + 6] | word[i + 7]) != 0) {
      return false;
    }
  }
  return true;
}

void set(PageSet* set, size_t page, bool holds) {
  const uint64_t bit = uint64_t{1} << (page % 64);
  if (((set->holds[page / 64] & bit) != 0) == holds) return;
  set->holds[page / 64] ^= bit;
  holds ? ++set->filled : --set->filled;
}

// A huge page of which only the beginning was written reads as full; four pages tell.
bool may_be_half_filled(uintptr_t start, size_t page_size) {
  for (size_t i = 1; i <= 4; ++i) {
    if (is_zero(start + (i * kRegionPages / 4 - 1) * page_size, page_size)) return true;
  }
  return false;
}

}  // namespace

bool look_at_pages(int pagemap, uintptr_t start, size_t count, bool by_content,
                   PageSet* out) noexcept {
  const size_t page_size = static_cast<size_t>(probe::page_size());
  *out = PageSet{};
  out->count = count;
  const long size = static_cast<long>(count * sizeof(uint64_t));
  const int64_t offset = static_cast<int64_t>(start / page_size * sizeof(uint64_t));
  if (count > kRegionPages ||
      sys::pread(pagemap, g_entries, static_cast<size_t>(size), offset) != size) {
    return false;
  }
  size_t exclusive = 0;
  for (size_t i = 0; i < count; ++i) {
    const uint64_t entry = g_entries[i];
    if ((entry & (kPresent | kSwapped | kFilePage | kGuard)) == 0) continue;
    const bool is_own = (entry & kExclusive) != 0;
    // The huge zero page counts as a file's; what else is in anonymous memory is not.
    const bool plain = (entry & (kPresent | kSwapped | kGuard)) == kPresent;
    if (plain && is_own) ++exclusive;
    const bool holds =
        !plain || is_own || !by_content || !is_zero(start + i * page_size, page_size);
    set(out, i, holds);
    if (plain && !is_own && holds) ++out->shared;
  }
  const bool may_be_huge =
      exclusive == kRegionPages && start % (kRegionPages * page_size) == 0 && by_content;
  if (!may_be_huge || !may_be_half_filled(start, page_size)) return true;
  PageSet by_word = *out;
  for (size_t i = 0; i < count; ++i) set(&by_word, i, !is_zero(start + i * page_size, page_size));
  // Zeros all over were written by somebody, and are as needed as anything else.
  if (by_word.filled != 0) *out = by_word;
  return true;
}

}  // namespace oomguard::spill

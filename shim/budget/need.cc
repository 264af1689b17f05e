#include "shim/budget/need.h"

#include <algorithm>

#include "shim/budget/gate.h"

namespace oomguard::budget {
namespace {

constexpr size_t kPage = 4096;

// Shared memory may have been filled by somebody else: mincore knows the file's pages, while the
// page map knows those that this process has met. 64 pages of the range are looked at.
size_t not_in_cache(const void* address, size_t size) noexcept {
  constexpr size_t kLooks = 64;
  const uintptr_t first = reinterpret_cast<uintptr_t>(address) / kPage;
  const size_t pages = (reinterpret_cast<uintptr_t>(address) + size - 1) / kPage - first + 1;
  const size_t looks = std::min(pages, kLooks);
  size_t missing = 0;
  for (size_t i = 0; i < looks; ++i) {
    unsigned char there = 0;
    const uintptr_t page = first + (looks > 1 ? (pages - 1) / (looks - 1) * i : 0);
    const long status =
        sys::call(SYS_mincore, static_cast<long>(page * kPage), kPage, sys::as_arg(&there));
    missing += status != 0 || (there & 1) == 0 ? 1 : 0;
  }
  return missing == looks ? size : size / looks * missing;
}

}  // namespace

size_t untouched(const void* address, size_t size) noexcept {
  const size_t with_all_else = size <= SIZE_MAX / 64 ? size * 32 : SIZE_MAX / 2;
  if (gate.has_plenty_for(static_cast<int64_t>(with_all_else))) return size;
  const int64_t touched = gate.residency.touched_bytes(
      reinterpret_cast<uintptr_t>(address), size);
  if (touched <= 0) return size;
  return static_cast<size_t>(touched) < size ? size - static_cast<size_t>(touched) : 0;
}

size_t need_to_fill(const void* address, size_t size, bool locks) noexcept {
  if (size == 0) return 0;
  switch (gate.residency.backing(reinterpret_cast<uintptr_t>(address))) {
    case probe::Backing::kSharedMemory: return not_in_cache(address, size);
    case probe::Backing::kFile: return locks ? size : 0;
    default: return untouched(address, size);
  }
}

}  // namespace oomguard::budget

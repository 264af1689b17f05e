#include "shim/spill/drop.h"

#include <sys/mman.h>

#include <algorithm>

#include "collector/probe/kernel_file.h"
#include "collector/probe/mappings.h"
#include "shim/spill/private_pages.h"

namespace oomguard::spill {
namespace {

// A hole in the file, or, where the kernel makes none (pages that may not be written to now), empty
// pages in its place.
void empty_pages(uintptr_t from, uintptr_t to, const probe::Mapping& mapping) noexcept {
  const uint64_t size = to - from;
  const long start = static_cast<long>(from);
  if (sys::call(SYS_madvise, start, static_cast<long>(size), MADV_REMOVE) == 0) return;
  const long empty = map_private(0, size, 0);
  if (is_error(empty)) return;
  protect_like(empty, size, mapping);
  if (!move_over(empty, size, from)) sys::call(SYS_munmap, empty, static_cast<long>(size));
}

}  // namespace

void drop_range(uintptr_t address, uint64_t size) noexcept {
  const uintptr_t page = static_cast<uintptr_t>(probe::page_size());
  uintptr_t end;
  if (address % page != 0 || __builtin_add_overflow(address, size + page - 1, &end)) return;
  end -= end % page;
  if (!ranges.overlaps(address, end)) return;
  const probe::OneShot maps({"/proc/thread-self", "maps"});
  if (!maps) return;
  probe::CharStream in(maps.fd());
  probe::Mapping mapping;
  while (probe::read_mapping(in, &mapping) && mapping.start < end) {
    const uintptr_t from = std::max(address, mapping.start);
    const uintptr_t to = std::min(end, mapping.end);
    if (from < to && mapping.shared && mapping.of_file() && ranges.overlaps(from, to)) {
      empty_pages(from, to, mapping);
    }
  }
}

}  // namespace oomguard::spill

// The blocks whose pages may be lent: what the ledger knows of malloc's blocks above 1 MiB, as far
// as they have a mapping of their own in libc's allocator. And the walk over the parts of them that
// are plain private memory now.
//
// Thread-safety: from the raw thread, while all other threads are stopped.
#pragma once

#include <cstddef>
#include <cstdint>

namespace oomguard::spill {

struct Candidate {
  uintptr_t block;    // as malloc returned it
  uintptr_t mapping;  // where its own mapping begins; the page with its header is never lent
  uintptr_t start;    // what may be lent; end 0: not a mapping of its own
  uintptr_t end;
  int32_t thread_id;  // that asked for it
  bool checked;
};

// What else is mapped, as far as it matters.
struct Survey {
  size_t mappings = 0;
  size_t most_mappings = 0;  // that there may be: half of vm.max_map_count
  bool pins = false;   // a device or asynchronous I/O may write to present pages by itself
  bool rings = false;  // io_uring: the kernel may write to any page at any time
};
[[nodiscard]] bool survey_mappings(Survey* out) noexcept;

// From the ledger, in the order of their addresses. Returns how many.
size_t collect_candidates() noexcept;

// Calls `visit(context, candidate, from, to)` for each stretch of plain private memory of each
// candidate, until it answers false. It may replace the stretch. False: unreadable, or stopped.
using Visit = bool (*)(void* context, const Candidate& candidate, uintptr_t from, uintptr_t to);
bool walk_candidates(Visit visit, void* context) noexcept;

}  // namespace oomguard::spill

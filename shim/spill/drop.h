// What the program drops of its own memory (madvise) is zero afterwards, lent or not. The kernel
// zeros private memory; of a shared file it would only forget where the pages lie.
//
// Thread-safe. No lock, no allocation, errno untouched. Callable from a hook: yes.
#pragma once

#include <cstdint>

#include "shim/spill/ranges.h"

namespace oomguard::spill {

// Calls drop() until no page was lent or came back meanwhile: what it dropped in one place may have
// been on its way to the other. Returns its answer.
template <typename Drop>
int drop_unmoved(Drop drop) noexcept {
  for (;;) {
    const uint32_t before = moves.load(std::memory_order_acquire);
    const int answer = drop();
    if (moves.load(std::memory_order_acquire) == before) return answer;
  }
}

// Zeros what of [address, address + size) is lent, in whole pages, and gives its file space back.
// Call it behind the kernel's own answer: what is lent between the two holds nothing.
void drop_range(uintptr_t address, uint64_t size) noexcept;

}  // namespace oomguard::spill

// What the program drops of its own memory (madvise) is zero afterwards, lent or not. The kernel
// zeros private memory; of a shared file it would only forget where the pages lie.
//
// Thread-safe. No lock, no allocation, errno untouched. Callable from a hook: yes.
#pragma once

#include <cstdint>

namespace oomguard::spill {

// Zeros what of [address, address + size) is lent, in whole pages, and gives its file space back.
// Call it behind the kernel's own answer: what is lent between the two holds nothing.
void drop_range(uintptr_t address, uint64_t size) noexcept;

}  // namespace oomguard::spill

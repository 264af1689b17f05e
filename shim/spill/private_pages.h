// Pages of the process's own, in place of lent ones: filled elsewhere first, then moved over them with
// one system call, so that no other thread ever sees anything between.
// No state, no allocation. Callable from a hook, a signal handler and the raw thread: yes.
#pragma once

#include <sys/mman.h>

#include <cstdint>

#include "collector/probe/syscall.h"

namespace oomguard::spill {

inline bool is_error(long result) noexcept { return result < 0 && result > -4096; }

// The address, or an error (is_error). `flags` besides those of private anonymous memory.
inline long map_private(uintptr_t address, uint64_t size, int flags) noexcept {
  return sys::call(SYS_mmap, static_cast<long>(address), static_cast<long>(size),
                   PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
}

// Moves the mapping `copy` over what is at `address`. False: everything is as it was.
inline bool move_over(long copy, uint64_t size, uintptr_t address) noexcept {
  const long length = static_cast<long>(size);
  return !is_error(sys::call(SYS_mremap, copy, length, length, MREMAP_MAYMOVE | MREMAP_FIXED,
                             static_cast<long>(address)));
}

}  // namespace oomguard::spill

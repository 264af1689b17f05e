// Pages of the process's own, in place of lent ones: filled elsewhere first, then moved over them
// with one system call, so that no other thread ever sees anything between. No state, no
// allocation. Callable from a hook, a signal handler and the raw thread: yes.
#pragma once

#include <sys/mman.h>

#include <cstdint>

#include "collector/probe/mappings.h"
#include "collector/probe/syscall.h"

namespace oomguard::spill {

inline bool is_error(long result) noexcept { return result < 0 && result > -4096; }

// The address, or an error (is_error). `flags` besides those of private anonymous memory.
inline long map_private(uintptr_t address, uint64_t size, int flags) noexcept {
  return sys::call(SYS_mmap, static_cast<long>(address), static_cast<long>(size),
                   PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1,
                   0);
}

// As libc's allocator maps a block, so that the kernel can join the two where nothing was written
// yet. Where it counts what it promises and has no more: without a promise.
inline long map_as_malloc(uint64_t size) noexcept {
  const long mapped = sys::call(SYS_mmap, 0, static_cast<long>(size), PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return is_error(mapped) ? map_private(0, size, 0) : mapped;
}

// Moves the mapping `copy` over what is at `address`. False: everything is as it was.
inline bool move_over(long copy, uint64_t size, uintptr_t address) noexcept {
  const long length = static_cast<long>(size);
  return !is_error(sys::call(SYS_mremap, copy, length, length, MREMAP_MAYMOVE | MREMAP_FIXED,
                             static_cast<long>(address)));
}

// As the program set it with mprotect, before they are moved over.
inline void protect_like(long address, uint64_t size, const probe::Mapping& mapping) noexcept {
  if (mapping.readable && mapping.writable && !mapping.executable) return;
  const long protection = (mapping.readable ? PROT_READ : 0) | (mapping.writable ? PROT_WRITE : 0) |
                          (mapping.executable ? PROT_EXEC : 0);
  sys::call(SYS_mprotect, address, static_cast<long>(size), protection);
}

}  // namespace oomguard::spill

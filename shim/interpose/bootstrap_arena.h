// Memory for the few allocations that dlsym makes before the real allocator is known.
//
// A bump allocator over zero-initialised static memory; blocks are never given back (there are a
// handful). Thread-safety: lock-free. Callable from a hook: yes.
#pragma once

#include <cstddef>

namespace oomguard::interpose {

// nullptr when the arena is full or the alignment is no power of two. Memory is zeroed.
void* bootstrap_allocate(size_t size, size_t alignment = 16) noexcept;
bool in_bootstrap_arena(const void* pointer) noexcept;
size_t bootstrap_size(const void* pointer) noexcept;

}  // namespace oomguard::interpose

// Gives back what the allocator keeps, before anything is refused. libc: malloc_trim, which takes
// 150-575 ms on a fragmented heap of 4 GB, so only where it can help. An allocator that is
// preloaded behind this library (jemalloc, tcmalloc, mimalloc): its purge, also when memory gets
// scarce, because it keeps much more, and freed pages of it are no need. Callable from a hook: yes,
// in a thread of the program; from the raw thread `want` alone (libc takes no lock while it
// believes that the process has one thread, and jemalloc has thread-local state).
#pragma once

#include <cstdint>

namespace oomguard::budget::relief {

// Looks up which allocator stands behind the hooks; not from a hook.
void init() noexcept;

// Releases free heap memory where at least `shortfall` bytes could come back. True: something was
// tried and the limits should be read again. `of_heap`: the request is for malloc and its kin. A
// preloaded allocator asks for mappings while it holds its own locks, so it is purged for nobody
// else.
bool release(int64_t shortfall, bool of_heap) noexcept;

// Another release is worth its time: the last one took little beside the time since (less than 5%),
// or the program freed large blocks after it, which the allocator may have kept.
bool affordable() noexcept;

// Memory gets scarce: the next slow path of malloc and its kin purges a preloaded allocator.
void want() noexcept;
void release_if_wanted() noexcept;

}  // namespace oomguard::budget::relief

// Gives back what the allocator keeps, before anything is refused: malloc_trim, which takes
// 150-575 ms on a fragmented heap of 4 GB, so only where it can help and once per incident.
// Callable from a hook: yes, in a thread of the program; never from the raw thread (libc takes no
// lock while it believes that the process has one thread).
#pragma once

#include <cstdint>

namespace oomguard::budget::relief {

// Looks up malloc_trim and mallinfo2; not from a hook.
void init() noexcept;

// Releases free heap memory where at least `shortfall` bytes could come back. True: something was
// tried and the limits should be read again.
bool release(int64_t shortfall) noexcept;

}  // namespace oomguard::budget::relief

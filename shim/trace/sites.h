// Call stacks that allocated, and the bytes of each, in the sections of the flight file
// (collector/record/stacks.h): so they outlive the process.
//
// Frames, stacks and strings are interned: written once, found again by indices in private memory,
// never removed. A full section counts what it dropped. Two threads that meet the same new stack at
// once may write it twice; readers add up.
// Callable from a hook: yes (no allocation, no lock; about 8 KiB of stack). Thread-safety: all of
// it.
#pragma once

#include <cstdint>

namespace oomguard::trace::sites {

// Once, when the session has started.
void start() noexcept;

// The call stack of this thread, Python and native, as a site (index in its section + 1). 0: no
// place.
uint32_t of_this_thread() noexcept;

// Changes may be negative. Site 0 is ignored.
void count_live(uint32_t site, int64_t bytes, int64_t blocks) noexcept;
void count_allocated(uint32_t site, int64_t bytes, int64_t blocks) noexcept;

// Of the blocks of a site, so much is granted and not there yet. reset first, then add for each
// block.
void reset_untouched() noexcept;
void add_untouched(uint32_t site, int64_t bytes) noexcept;

// The child's file has none of its parent's stacks.
void on_fork_child() noexcept;

}  // namespace oomguard::trace::sites

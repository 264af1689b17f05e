// What calls that fill memory at once have in common: mmap with MAP_POPULATE or under mlockall, and
// the hooks of populate.cc. Callable from a hook: yes. Thread-safe.
#pragma once

#include <atomic>
#include <cstddef>

namespace oomguard::interpose {

// mlockall(MCL_FUTURE) is in force: every new mapping is filled as it is made.
extern std::atomic<bool> maps_are_filled;

// What of a range of private memory is not there yet. A range that nobody can look into is new, and
// one that is small beside what is left need not be looked into.
size_t untouched(const void* address, size_t size) noexcept;

}  // namespace oomguard::interpose

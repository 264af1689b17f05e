// What calls that fill memory at once have in common: mmap with MAP_POPULATE or under mlockall, and
// the hooks of populate.cc. Callable from a hook: yes. Thread-safe.
#pragma once

#include <atomic>

namespace oomguard::interpose {

// mlockall(MCL_FUTURE) is in force: every new mapping is filled as it is made.
extern std::atomic<bool> maps_are_filled;

}  // namespace oomguard::interpose

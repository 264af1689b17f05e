// What filling memory that is mapped already will take. Callable from a hook: yes. Thread-safe.
#pragma once

#include <cstddef>

namespace oomguard::budget {

// What of a range of private memory is not there yet. A range that nobody can look into is new, and
// one that is small beside what is left need not be looked into.
size_t untouched(const void* address, size_t size) noexcept;

// The same of a range of whatever kind. A file on a disk takes nothing that could not be given
// back, unless it is locked.
size_t need_to_fill(const void* address, size_t size, bool locks) noexcept;

}  // namespace oomguard::budget

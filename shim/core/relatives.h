// What happened in the processes that this one started, from their flight files.
//
// A pool hands a worker's MemoryError to its parent as a pickled exception: the refusal behind it
// is recorded in the worker's file, which may be all that is left of the worker. Thread-safety: any
// thread. Callable from a hook: no (it reads files); no allocation.
#pragma once

#include <cstdint>

namespace oomguard::relatives {

// Copies the newest refusal of a child that nobody has been shown into this process's own file, and
// marks it as shown there. Returns its number here, 0 where there is none.
uint64_t adopt_refusal() noexcept;

}  // namespace oomguard::relatives

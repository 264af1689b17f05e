// What this process may take for the machine's memory now (collector/probe/memory_view.h).
//
// Thread-safe. Callable from a hook: yes; in a signal handler on a stack of its own it answers
// nothing.
#pragma once

#include "collector/probe/memory_view.h"

namespace oomguard::budget {

// False where the kernel's own numbers hold: no gate works here, --view host, this thread sees the
// host or is inside a hook, no limit is below the machine's memory, or nothing could be read.
[[nodiscard]] bool current_view(probe::MemoryView* out) noexcept;

}  // namespace oomguard::budget

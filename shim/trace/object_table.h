// The loaded objects as /proc/self/maps shows them, for a libc that cannot be asked without its
// locks (loaded_object.h).
//
// Two tables: one in use, one being built by one thread while others use the old one.
// Thread-safety: all. Callable from a hook and from a signal handler: yes.
#pragma once

#include <cstdint>

#include "shim/trace/loaded_object.h"

namespace oomguard::trace {

[[nodiscard]] bool find_in_own_table(uintptr_t address, LoadedObject* out) noexcept;

// In fork's child: threads that were looking, or building, do not exist.
void forget_object_table_users() noexcept;

}  // namespace oomguard::trace

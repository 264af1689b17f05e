// The functions that the embedded Python sources reach the engine through.
// Thread-safety: the interpreter lock is held. Callable from a hook: no.
#pragma once

#include <cstdint>

#include "shim/python/capi.h"

namespace oomguard::python {

// A new module object with the engine's functions (it is in no sys.modules). Null with a Python
// exception set.
PyObject* make_bridge() noexcept;

// Calls what on_notice() was given. False with an exception set that is not an `Exception`.
bool show_notice(bool scarce) noexcept;

// (major << 16) | minor of the interpreter that was detected.
uint32_t version() noexcept;

}  // namespace oomguard::python

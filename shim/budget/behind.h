// Who stands behind a request of the interpreter or of the C++ runtime. A refusal has to land where
// it is handled, and these two only pass it on: PyBytes_FromStringAndSize hands NULL to the module
// that called it, operator new throws into whoever asked.
//
// The stack above the hook's own frame is looked at for return addresses, 1 KiB of it; it is copied
// by the kernel, so that the end of a small stack is no harm. A guess: an old return address may
// lie there. The worst of it is that a request is granted (and the main thread gets an exception)
// which could have been refused, or the other way round, as without it. Callable from a hook: yes,
// and from nowhere else (it walks the frames of our own code). Not in the raw thread.
// Thread-safety: all.
#pragma once

#include <cstdint>

#include "shim/budget/callers.h"

namespace oomguard::budget {

// The interpreter's evaluation loop: what it calls is answered in Python. And its function that
// says whether Python knows this thread (PyGILState_GetThisThreadState), null in other programs.
void set_interpreter_loop(uintptr_t start, uintptr_t size, void* (*this_thread)()) noexcept;

// `nearest` is what classify() said of the hook's return address. The caller whom a refusal has to
// suit: `nearest` itself where nobody less able stands behind it.
Caller behind(Caller nearest, uintptr_t return_address) noexcept;

// True where the machine instruction before an address, whose last bytes are given, may be a call:
// what a return address follows. Pure.
bool follows_call(const unsigned char (&before)[8]) noexcept;

}  // namespace oomguard::budget

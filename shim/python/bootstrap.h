// How a guarded CPython gets the `oomguard` module and its signal handler, with nothing installed.
//
// The engine calls `on_slow_path` from the slow path of its hooks; in the main thread, once the
// interpreter is initialised, it queues one pending call (Py_AddPendingCall), which runs after
// `site` and before the program's own code, compiles the embedded boot.py and hands it the bridge.
// This is the one place where a lock of the interpreter (its pending calls) is taken near a hook.
#pragma once

#include <cstdint>

namespace oomguard::python {

enum class State : uint32_t {
  kNotPython = 0,   // nothing to do, ever
  kWaiting = 1,     // Python, not yet initialised or `site` not yet done
  kQueued = 2,      // the pending call is in the interpreter's queue
  kReady = 3,       // the module exists and the signal handler is in place
  kFailed = 4,      // the bootstrap raised: protection by refusal goes on, no module
};

// Looks for the interpreter's symbols (dlsym on the global scope: executable or libpython).
// Called once from the shim's constructor. Never loads anything.
void detect() noexcept;

State state() noexcept;

// The interpreter is there and `site` may be next. False also where there is none. Callable from a
// hook: yes, in any thread.
bool is_initialized() noexcept;

// Callable from a hook: yes (it is its only caller), in any thread; cheap once kReady.
// `is_main_thread`: the caller has gettid() == getpid().
void on_slow_path(bool is_main_thread) noexcept;

// CPython from 3.12 on counts the process's threads right after the fork handlers ran in the
// parent, and warns where there is more than one.
bool counts_threads() noexcept;
// Calls what bridge.on_notice() was given in the main thread, between two bytecodes: memory gets
// scarce, or a load's progress may be shown. From any thread of the program; callable from a hook.
void show_notice_soon(bool scarce) noexcept;
// Runs `call` in the main thread, between two bytecodes. From the main thread only.
void run_soon(void (*call)() noexcept) noexcept;

// In fork's child: a queued call was inherited with the interpreter's state; nothing is re-run.
void on_fork_child() noexcept;

}  // namespace oomguard::python

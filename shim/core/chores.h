// What a slow path does besides deciding: hands the main thread to the bootstrap of the Python side
// while that waits for the interpreter, and starts the watchdog again some time after a fork.
// Callable from a hook: yes, in a thread of the program; cheap when there is nothing to do.
#pragma once

#include <cstdint>

namespace oomguard::chores {

void on_slow_path(int32_t thread_id) noexcept;

// The main thread must keep taking the slow path: the interpreter is not ready yet, or the watchdog
// is stopped.
bool bootstrap_waiting() noexcept;

}  // namespace oomguard::chores

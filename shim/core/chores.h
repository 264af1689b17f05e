// What a slow path does besides deciding: hands the main thread to the bootstrap of the Python side
// while that waits for the interpreter, has a notice printed there, starts the watchdog again some
// time after a fork, and looks now and then for checkpoint files. Callable from a hook: yes, in a
// thread of the program; cheap when there is nothing to do.
#pragma once

#include <cstdint>

namespace oomguard::chores {

void on_slow_path(int32_t thread_id) noexcept;

// The Python side is not in place yet, and will be. Callable from the raw thread, too.
bool awaits_interpreter() noexcept;

// The most credit that a thread may get, so that it comes back soon enough: the main thread none
// while the bootstrap waits for `site` and little before that, others little while the watchdog is
// stopped.
int64_t credit_limit() noexcept;

}  // namespace oomguard::chores

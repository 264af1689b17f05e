// Stops all other threads of the process for some milliseconds, by a signal of our own.
//
// A thread counts as stopped when it waits in our handler; when it is asleep in the kernel and the
// signal is pending (it cannot come back to its own code before the handler); or, where it blocks
// all signals, as long as it stays asleep in a call that shows which memory it may write to. Such a
// thread may wake at any moment: sleepers_unmoved() must hold right before and after what depends
// on it.
//
// The handler stays in place afterwards: a thread may have the signal pending for long. It uses
// less than 200 bytes of stack, changes nothing and leaves errno alone. Thread-safety: from the raw
// thread only. Callable from a hook: no.
#pragma once

#include <cstdint>

namespace oomguard::spill {

// Waits until all have stopped, `wait_ns` at the longest; 20 ms for one that runs with our signal
// blocked. False: not all did. Those that did stay stopped until resume_threads() either way.
[[nodiscard]] bool stop_threads(int64_t wait_ns) noexcept;
void resume_threads() noexcept;

// About the stop that holds now.
uint32_t stopped_threads() noexcept;
bool has_sleepers() noexcept;
bool sleepers_unmoved() noexcept;
// A sleeper that may have memory of its own anywhere: it allocated this.
bool is_sleeper(int32_t thread_id) noexcept;
// A system call in progress may write to [start, end).
bool call_points_into(uintptr_t start, uintptr_t end) noexcept;

}  // namespace oomguard::spill

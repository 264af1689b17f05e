// Looks at the limits while nobody asks for memory: adaptive tick, samples for the session and the
// neighbours, and the exception when memory that was granted earlier is being filled beyond what is
// there. A raw thread: it reads descriptors, sets flags and sends a signal, nothing else.
//
// Stopped around fork and calls that change credentials. Started again right after them, but where
// CPython counts the threads (python/bootstrap.h): there a little later.
// Thread-safety: allow/pause/resume_if_due from threads of the program, one state machine.
#pragma once

#include <cstdint>

namespace oomguard::budget::watchdog {

// From now on there may be one; starts it. Not from a hook.
void allow() noexcept;
// Stops it and waits until the kernel says so (microseconds). Nests.
void pause() noexcept;
// It goes on; not `at_once`: when start_now() is called, or 20 ms from now at the earliest, from
// the next slow path.
void resume(bool at_once = true) noexcept;
void start_now() noexcept;
// Lets it look now.
void wake() noexcept;
// The same before a fork. False: it goes on watching, because other threads may fill what is left
// meanwhile (where memory is short a fork took 40 ms), and threads there are anyway. The child
// takes over nothing of its state.
bool pause_for_fork() noexcept;
// In fork's child: there is none, and one is started.
void on_fork_child() noexcept;

// Callable from a hook: yes.
// Somebody asks for memory: nothing moved for a while, and that may end now.
void stir() noexcept;
bool due() noexcept;
void start_if_due(int64_t now_ns) noexcept;

}  // namespace oomguard::budget::watchdog

// Looks at the limits while nobody asks for memory: adaptive tick, samples for the session and the
// neighbours, and the exception when memory that was granted earlier is being filled beyond what is
// there. A raw thread: it reads descriptors, sets flags and sends a signal, nothing else.
//
// Stopped around fork and calls that change credentials, started again a little later from a slow
// path (CPython counts threads right after its fork handlers ran, and warns).
// Thread-safety: allow/pause/resume_if_due from threads of the program, one state machine.
#pragma once

#include <cstdint>

namespace oomguard::budget::watchdog {

// From now on there may be one; starts it. Not from a hook.
void allow() noexcept;
// Stops it and waits until the kernel says so (microseconds). Nests.
void pause() noexcept;
// It may start again, 20 ms from now at the earliest, from the next slow path.
void resume() noexcept;
// Lets it look now.
void wake() noexcept;
// In fork's child: there is none; due like after resume().
void on_fork_child() noexcept;

// Callable from a hook: yes.
// Somebody asks for memory: nothing moved for a while, and that may end now.
void stir() noexcept;
bool due() noexcept;
void start_if_due(int64_t now_ns) noexcept;

}  // namespace oomguard::budget::watchdog

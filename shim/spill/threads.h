// What another thread of this process is doing, as far as the kernel tells: is it asleep, in which
// system call, and into what memory does that call point?
//
// Thread-safety: one caller at a time (the raw thread; static buffers). Callable from a hook: no.
#pragma once

#include <cstddef>
#include <cstdint>

namespace oomguard::spill {

struct ThreadLook {
  char state = '?';         // R, S, D, T, t, Z, X as in /proc/PID/status
  uint64_t blocked = 0;     // signal mask, bit 0 is signal 1
  uint64_t switches = 0;    // context switches of both kinds
  bool call_known = false;  // `call` and `arguments` are what it stands in
  long call = -1;           // -1: in none (interrupted, or in a page fault)
  uintptr_t arguments[6] = {};

  bool is_gone() const { return state == 'Z' || state == 'X'; }
  bool blocks(int signal_number) const { return (blocked >> (signal_number - 1) & 1) != 0; }
};

// False: there is no such thread (any more).
[[nodiscard]] bool look_at_thread(int32_t thread_id, ThreadLook* out) noexcept;

// The thread ids of this process, in the kernel's order, to `visit(context, id)`. False:
// unreadable.
[[nodiscard]] bool each_thread(void (*visit)(void* context, int32_t thread_id),
                               void* context) noexcept;

// A system call that keeps its caller asleep tells by its arguments which memory it may still write
// to. False for calls that hide it (ioctl, io_submit, ...) and where nothing is known.
bool shows_its_memory(const ThreadLook& look) noexcept;
// Some argument, or some buffer of a list of them, begins in [start, end).
bool points_into(const ThreadLook& look, uintptr_t start, uintptr_t end) noexcept;

// This call takes a signal out of the queue instead of running its handler.
bool takes_signals(const ThreadLook& look) noexcept;

}  // namespace oomguard::spill

// Signal handlers by system call: libc's sigaction refuses none of what we do, but it may not be
// called from the raw thread.
//
// Thread-safety: the kernel's. Callable from a hook and from the raw thread: yes.
#pragma once

#include <signal.h>

#include <cstdint>

#include "collector/probe/syscall.h"

namespace oomguard::spill {

// The kernel's struct sigaction (x86-64 and aarch64).
struct KernelAction {
  uintptr_t handler = 0;  // 0: default, 1: ignored
  uint64_t flags = 0;
  uintptr_t restorer = 0;
  uint64_t mask = 0;
};

inline bool read_action(int signal_number, KernelAction* out) noexcept {
  return sys::call(SYS_rt_sigaction, signal_number, 0, sys::as_arg(out), 8) == 0;
}
inline bool write_action(int signal_number, const KernelAction& action) noexcept {
  return sys::call(SYS_rt_sigaction, signal_number, sys::as_arg(&action), 0, 8) == 0;
}

inline uintptr_t handler_address(void (*handler)(int, siginfo_t*, void*) noexcept) noexcept {
  return reinterpret_cast<uintptr_t>(handler);
}

// With the way back that x86-64 asks each handler to bring along.
KernelAction make_action(uintptr_t handler, uint64_t flags) noexcept;

}  // namespace oomguard::spill

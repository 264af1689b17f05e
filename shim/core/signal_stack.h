// Whether this code runs in a signal handler on a stack of its own, which may be as small as 2 KiB:
// too little for a look at the limits. Callable from a hook: yes.
#pragma once

#include <signal.h>

#include "collector/probe/syscall.h"

namespace oomguard {

inline bool on_signal_stack() noexcept {
  stack_t stack{};
  return sys::call(SYS_sigaltstack, 0, sys::as_arg(&stack)) == 0 &&
         (stack.ss_flags & SS_ONSTACK) != 0;
}

}  // namespace oomguard

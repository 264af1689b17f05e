// This process is about to become another program: its record says so, nobody sends it the signal
// that only its own handler knows, and it counts for nothing in its tree. Undone where exec fails.
//
// Does nothing in a process that is not the guarded one (a child between vfork and exec, whose
// memory is its parent's). Callable from a hook, and between vfork and exec: yes.
#pragma once

#include <cstdint>

namespace oomguard {

class Executing {
 public:
  Executing() noexcept;
  ~Executing();
  Executing(const Executing&) = delete;
  Executing& operator=(const Executing&) = delete;

 private:
  bool own_process_;
  int32_t signal_ = 0;
};

}  // namespace oomguard

// Memory for a child's environment that is too large for the stack (10,000 variables take 80 KB,
// and a thread may have 16 KiB).
//
// Between vfork and exec the child maps it in the parent's address space and is gone once exec has
// succeeded, so nobody is left to unmap it. The child runs with the parent thread's thread-local
// storage: it leaves the mapping there, and the same thread takes it back at its next use.
// Thread-safety: each object belongs to one thread. Callable from a hook, and between vfork and
// exec: yes (system calls only). Errors: data() is nullptr where no memory could be mapped.
#pragma once

#include <cstddef>

namespace oomguard::children {

class Scratch {
 public:
  // `shares_parents_memory`: this is a child between vfork and exec.
  Scratch(size_t bytes, bool shares_parents_memory) noexcept;
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  void* data() const noexcept { return data_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
  bool shares_parents_memory_ = false;
};

// The process whose memory this is: vfork children see another number. Called at start and in
// fork's child. A child made behind libc's back takes itself for a vfork child: it unmaps late, at
// the same thread's next use.
void remember_process() noexcept;
[[nodiscard]] bool in_vfork_child() noexcept;

}  // namespace oomguard::children

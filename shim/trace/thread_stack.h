// What of the stack that the calling thread runs on can be read.
//
// A stack's own pages are what is readable without a gap from the stack pointer upward: each
// thread's stack ends at an unreadable page or at the thread's own data. Each page is asked for
// once (a system call, 0.1 us). For the stack that the thread began with, the answer is remembered:
// it cannot go away while the thread runs. Any other (an alternate signal stack, a coroutine's) is
// asked for again each time. Thread-safety: an object belongs to one thread. Callable from a hook
// and from a signal handler: yes; not in a thread without libc's thread control block.
#pragma once

#include <cstddef>
#include <cstdint>

namespace oomguard::trace {

// At start, in the main thread: where its stack ends. Not callable from a hook (dlsym).
void find_main_stack() noexcept;

class ThreadStack {
 public:
  // The stack that this stack pointer is of, from there upward. False: nothing is there.
  [[nodiscard]] bool enter(uintptr_t address) noexcept;

  // Where the stack ends that this thread began with; 0: this is another one.
  uintptr_t own_end() const noexcept { return is_own_ ? high_ : 0; }

  // Reads 8 bytes. False: not on this stack, or not aligned.
  [[nodiscard]] bool load(uintptr_t at, uintptr_t* out) noexcept {
    if ((at < low_ || at >= high_ || at % sizeof(uintptr_t) != 0) && !reaches(at)) return false;
    *out = fetch(at);
    return true;
  }
  // Whether an address can be the caller's stack pointer: on this stack, aligned.
  [[nodiscard]] bool may_point_to(uintptr_t at) noexcept {
    return at % sizeof(uintptr_t) == 0 && (at - 1 < high_ || reaches(at - sizeof(uintptr_t))) &&
           at > low_;
  }

 private:
#if defined(__SANITIZE_ADDRESS__)
  [[gnu::no_sanitize_address, gnu::noinline]] static uintptr_t fetch(uintptr_t at) {
    return *reinterpret_cast<const uintptr_t*>(at);
  }
#else
  static uintptr_t fetch(uintptr_t at) { return *reinterpret_cast<const uintptr_t*>(at); }
#endif
  bool enter_other(uintptr_t address) noexcept;
  bool reaches(uintptr_t at) noexcept;

  uintptr_t low_ = 0;   // pages from here
  uintptr_t high_ = 0;  // up to here can be read
  bool is_own_ = false;
};

}  // namespace oomguard::trace

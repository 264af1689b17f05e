// Whether the program's memory can be read, without taking the fault: a hook must not crash where
// the kernel answers EFAULT. Thread-safe: no state. Callable from a hook, from a signal handler and
// from the raw thread: yes.
#pragma once

#include <errno.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>

#include "collector/probe/syscall.h"

namespace oomguard::sys {

// The kernel reads the new mask before it refuses an unknown `how`. (A call that programs make
// anyway: filters that forbid process_vm_readv allow it.)
inline bool is_readable(const void* address, size_t size) noexcept {
  constexpr uintptr_t kMask = 8;
  constexpr uintptr_t kPage = 4096;
  const uintptr_t first = reinterpret_cast<uintptr_t>(address);
  uintptr_t end;
  if (size == 0 || __builtin_add_overflow(first, size, &end)) return false;
  for (uintptr_t at = first & ~(kMask - 1); at < end; at = (at & ~(kPage - 1)) + kPage) {
    const long answer = call(SYS_rt_sigprocmask, -1, static_cast<long>(at), 0, kMask);
    if (answer != -EINVAL) return false;
  }
  return true;
}

// Copies memory of the program's, which another thread may take away at any moment: by the kernel.
// Where a filter forbids that call, what was readable a moment ago is read. False: part of it is
// not there.
[[nodiscard]] inline bool copy_bytes(const void* from, void* to, size_t size) noexcept {
  iovec here{to, size};
  iovec there{const_cast<void*>(from), size};
  const long got =
      call(SYS_process_vm_readv, call(SYS_getpid), as_arg(&here), 1, as_arg(&there), 1, 0);
  if (got != -EPERM && got != -ENOSYS) return got == static_cast<long>(size);
  if (!is_readable(from, size)) return false;
  const auto* source = static_cast<const volatile unsigned char*>(from);
  for (size_t i = 0; i < size; ++i) static_cast<unsigned char*>(to)[i] = source[i];
  return true;
}

// The same for an object.
template <typename Object>
[[nodiscard]] bool read_object(uintptr_t address, Object* out) noexcept {
  return copy_bytes(reinterpret_cast<const void*>(address), out, sizeof(Object));
}

}  // namespace oomguard::sys

// Whether the program's memory can be read, without taking the fault: a hook must not crash where the
// kernel answers EFAULT.
// Thread-safe: no state. Callable from a hook, from a signal handler and from the raw thread: yes.
#pragma once

#include <errno.h>

#include <cstddef>
#include <cstdint>

#include "collector/probe/syscall.h"

namespace oomguard::sys {

// The kernel reads the new mask before it refuses an unknown `how`. (A call that programs make anyway:
// filters that forbid process_vm_readv allow it.)
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

// Copies an object of the program's. False: part of it is not there.
template <typename Object>
[[nodiscard]] bool read_object(uintptr_t address, Object* out) noexcept {
  if (!is_readable(reinterpret_cast<const void*>(address), sizeof(Object))) return false;
  const auto* from = reinterpret_cast<const volatile unsigned char*>(address);
  auto* to = reinterpret_cast<unsigned char*>(out);
  for (size_t i = 0; i < sizeof(Object); ++i) to[i] = from[i];
  return true;
}

}  // namespace oomguard::sys

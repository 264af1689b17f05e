// Is the memory at an address there to be read, without taking the fault? A call that only reads it
// says EFAULT where it is not; process_vm_readv would do too, but many containers forbid it.
// Thread-safety: the kernel's. Callable from a hook and from the raw thread: yes.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>

#include "collector/probe/syscall.h"

namespace oomguard::spill {

// The eight bytes at `address`, and what shares a page with them.
inline bool is_readable(uintptr_t address) noexcept {
  constexpr long kNoSuchAction = 99;  // the mask is read first, then this is refused
  return sys::call(SYS_rt_sigprocmask, kNoSuchAction, static_cast<long>(address), 0, 8) == -EINVAL;
}

// Copies an object of the program's. False: part of it is not there.
template <typename Object>
[[nodiscard]] bool read_object(uintptr_t address, Object* out) noexcept {
  static_assert(sizeof(Object) >= 8 && sizeof(Object) <= 4096);
  if (!is_readable(address) || !is_readable(address + sizeof(Object) - 8)) return false;
  const auto* from = reinterpret_cast<const volatile unsigned char*>(address);
  auto* to = reinterpret_cast<unsigned char*>(out);
  for (size_t i = 0; i < sizeof(Object); ++i) to[i] = from[i];
  return true;
}

}  // namespace oomguard::spill

// The link in /proc that stands for a descriptor. A leaf.
// Thread-safe. Callable from a hook, from a signal handler and between vfork and exec: yes.
#pragma once

#include <cstddef>
#include <cstring>

namespace oomguard::probe {

// "/proc/self/fd/N", without stdio.
inline void descriptor_link(int fd, char (&out)[32]) {
  constexpr char kPrefix[] = "/proc/self/fd/";
  memcpy(out, kPrefix, sizeof(kPrefix));
  char digits[12];
  size_t count = 0;
  for (unsigned value = static_cast<unsigned>(fd); count == 0 || value != 0; value /= 10) {
    digits[count++] = static_cast<char>('0' + value % 10);
  }
  size_t at = sizeof(kPrefix) - 1;
  while (count > 0) out[at++] = digits[--count];
  out[at] = '\0';
}

}  // namespace oomguard::probe

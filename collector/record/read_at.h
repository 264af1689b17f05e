// pread(2) of all or nothing, for readers of files that may end anywhere.
// Thread-safety: no state. Callable from a hook: no.
#pragma once

#include <errno.h>
#include <unistd.h>

#include <cstddef>

namespace oomguard::record {

inline bool read_at(int fd, void* out, size_t size, off_t offset) {
  auto* at = static_cast<char*>(out);
  while (size > 0) {
    const ssize_t got = ::pread(fd, at, size, offset);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    at += got;
    size -= static_cast<size_t>(got);
    offset += got;
  }
  return true;
}

}  // namespace oomguard::record

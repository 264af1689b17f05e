// The entries of an open directory, without libc.
// Allocation-free, 1 KiB of stack. Callable from a hook: yes. Signal-safe: yes.
#pragma once

#include <cstddef>

#include "collector/probe/syscall.h"

namespace oomguard::sys {

struct DirectoryEntry {  // struct linux_dirent64
  uint64_t inode;
  int64_t offset;
  unsigned short length;
  unsigned char type;
  char name[1];
};

// Calls `visit(name)` for each, "." and ".." too, from where the directory was read to so far.
// False: it could not be read to its end.
template <typename Visit>
bool for_each_entry(int directory, Visit visit) {
  alignas(8) char buffer[1024];
  long got;
  while ((got = call(SYS_getdents64, directory, as_arg(buffer), sizeof buffer)) > 0) {
    for (long at = 0; at < got;) {
      const auto* entry = reinterpret_cast<const DirectoryEntry*>(buffer + at);
      at += entry->length;
      visit(static_cast<const char*>(entry->name));
    }
  }
  return got == 0;
}

// The number that a directory of /proc is named by; 0 where it is none.
inline int32_t number_of(const char* name) {
  int32_t number = 0;
  for (; *name != '\0'; ++name) {
    if (*name < '0' || *name > '9' || number > 100'000'000) return 0;
    number = number * 10 + (*name - '0');
  }
  return number;
}

}  // namespace oomguard::sys

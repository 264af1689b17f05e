// The lines of /proc/self/maps.
//
// Thread-safety: pure functions on the caller's objects. Callable from a hook and from the raw
// thread: yes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "collector/probe/kernel_text.h"

namespace oomguard::probe {

struct Mapping {
  uintptr_t start = 0;
  uintptr_t end = 0;
  bool readable = false;
  bool writable = false;
  bool executable = false;
  bool shared = false;
  uint64_t offset = 0;
  uint32_t major = 0;  // 0:1 is shared memory without a name, and memfd
  uint32_t minor = 0;
  uint64_t inode = 0;  // 0: no file
  char name[40] = "";  // zero-terminated, cut off

  bool of_file() const { return inode != 0; }
  bool of_unnamed_memory() const { return major == 0 && minor == 1; }
};

// The last component of a path, zero-terminated, cut off.
struct FileName {
  char text[64] = "";
};

// A whole path, zero-terminated; "" where it is longer.
struct FilePath {
  char text[1024] = "";
};

// One line: "start-end perms offset major:minor inode   path". False at the end. `file`: what the
// path ends with, where somebody wants to know.
bool read_mapping(CharStream& in, Mapping* out, FileName* file = nullptr);
bool read_mapping(CharStream& in, Mapping* out, FilePath* path);

}  // namespace oomguard::probe

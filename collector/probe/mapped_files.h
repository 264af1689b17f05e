// The largest files that this process has mapped.
//
// Thread-safety: pure functions on the caller's objects. Callable from a hook: no (1-10 ms in a
// process with many mappings); from the raw thread: yes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "collector/probe/mappings.h"

namespace oomguard::probe {

struct MappedFile {
  uint32_t major = 0;
  uint32_t minor = 0;
  uint64_t inode = 0;
  Bytes bytes = 0;      // of all its mappings
  uintptr_t start = 0;  // of the largest of them
  size_t size = 0;
  FileName name;
};

// Those of which at least `least` bytes are mapped, the largest first; at most `capacity`. Memory
// that only looks like a file (memfd, shared anonymous memory) is none.
size_t find_mapped_files(MappedFile* out, size_t capacity, Bytes least);

// The same for the lines of one text.
size_t find_mapped_files_in(CharStream& in, MappedFile* out, size_t capacity, Bytes least);

}  // namespace oomguard::probe

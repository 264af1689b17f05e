// A file whose content is memory: memfd, POSIX shared memory, anything on tmpfs or ramfs. Nothing
// of it can be reclaimed, and the kernel kills at the limit inside the call that makes it grow.
// This is how much a call would make such a file grow.
//
// What a descriptor is, is asked of the kernel each time: numbers are reused.
// Thread-safe: no state. Callable from a hook and from a signal handler: yes (system calls only).
#pragma once

#include <cstddef>
#include <cstdint>

namespace oomguard::budget {

class MemoryFile {
 public:
  // False: not a file in memory, or none at all.
  [[nodiscard]] bool look_at(int fd) noexcept;
  [[nodiscard]] bool look_at(const char* path) noexcept;

  // Pages that a write to [offset, offset + size) adds; without a hole what exists already is free.
  // Never more than its file system can hold.
  int64_t growth_in(int64_t offset, int64_t size) const noexcept;
  // The same for what is written at the descriptor's position (at the end, where it appends).
  int64_t growth_of_write(int fd, int64_t size) const noexcept;
  // What a new size adds, once that is filled.
  int64_t growth_to(int64_t size) const noexcept;
  // Of a mapping of [offset, offset + size): what nobody has touched yet.
  int64_t untouched_in(int64_t offset, int64_t size) const noexcept;

  // A state for tests of the arithmetic.
  static constexpr MemoryFile of(int64_t size, int64_t allocated, int64_t available) noexcept {
    MemoryFile file;
    file.size_ = size;
    file.allocated_ = allocated;
    file.available_ = available;
    return file;
  }

 private:
  bool finish(const void* status, const void* file_system) noexcept;
  int64_t preallocated() const noexcept;

  int64_t size_ = 0;
  int64_t allocated_ = 0;
  int64_t available_ = INT64_MAX;  // what the file system still takes
};

// How much sendfile, splice or copy_file_range can read at most: the rest of a file, the content of
// a pipe. `offset` null: from the descriptor's position.
int64_t readable_from(int fd, const int64_t* offset, int64_t size) noexcept;

}  // namespace oomguard::budget

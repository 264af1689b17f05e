// The sparse unlinked file on a real disk that takes lent pages.
//
// Thread-safety: one caller, the raw thread, in whose descriptor table the file is: the program
// never sees its number. Mappings keep the file alive without it. Allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>

#include "collector/probe/mappings.h"
#include "shim/budget/lines.h"

namespace oomguard::spill {

using budget::Bytes;

class Store {
 public:
  // Makes the file in `directory` and tries it. "", or what is wrong with the place: not a local
  // disk, not writable, too little room. `cap`: --spill-limit, -1 for the least of 2 GiB, `limit`,
  // and a quarter of the free space.
  const char* open(const char* directory, Bytes cap, Bytes limit) noexcept;
  // The descriptor is still there (the raw thread may have been replaced by another).
  bool is_open() noexcept;
  void close() noexcept;
  // Without closing: it was another thread's.
  void forget() noexcept { fd_ = -1; }

  int fd() const noexcept { return fd_; }
  bool holds(const probe::Mapping& mapping) const noexcept {
    return mapping.inode == inode_ && mapping.major == major_ && mapping.minor == minor_;
  }

  // Hands out file space for a block; sparse. False: RLIMIT_FSIZE or the file system's own limit.
  [[nodiscard]] bool reserve(uint64_t size, uint64_t* offset) noexcept;
  // False: the disk is full, or a quota.
  [[nodiscard]] bool write(uint64_t offset, const void* data, size_t size) noexcept;
  [[nodiscard]] bool read(uint64_t offset, void* out, size_t size) noexcept;
  void punch(uint64_t offset, uint64_t size) noexcept;
  // The next part of [from, end) that was written to, in whole pages; `hole`, its end, may be null.
  // False: nothing but holes.
  [[nodiscard]] bool next_data(uint64_t from, uint64_t end, uint64_t* data,
                               uint64_t* hole) noexcept;
  // Bytes of [from, end) that were written to, in whole pages.
  Bytes data_in(uint64_t from, uint64_t end) noexcept;

  // Bytes on disk or on their way there.
  Bytes used() noexcept;
  // What it may still take: the cap, and the disk's free space, of which 64 MiB stay.
  Bytes left(Bytes used) noexcept;

 private:
  const char* check(Bytes cap, Bytes limit) noexcept;
  bool identify() noexcept;

  int fd_ = -1;
  uint32_t major_ = 0;  // as /proc/self/maps shows the file: not what fstat says on an overlay
  uint32_t minor_ = 0;
  uint64_t inode_ = 0;
  uint64_t next_ = 0;
  Bytes cap_ = 0;
};

}  // namespace oomguard::spill

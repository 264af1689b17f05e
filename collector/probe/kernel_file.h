// A file of the kernel's that is kept open inside somebody else's program.
//
// The descriptor is not ours alone: the guarded program may close it (a daemon closing everything
// from 3 up) or get its number for a file of its own. So each read first compares what the number
// refers to with what was opened, and opens the path again where they differ.
//
// Thread-safety: `pread` from any number of threads; `close` while nobody reads.
// Callable from a hook and from the raw thread: yes. No lock: number and identity are one atomic
// word, so that a thread that loses the race to reopen uses its own descriptor once and closes it.
// Errors: -errno.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "collector/probe/syscall.h"

namespace oomguard::probe {

// "directory/name"; both must outlive the call.
struct PathRef {
  const char* directory;
  const char* name;
};

// Joins the two. False where it does not fit.
[[nodiscard]] bool join_path(PathRef path, char* out, size_t capacity);

// Opens for reading and closes again: for files that are read once.
class OneShot {
 public:
  explicit OneShot(PathRef path);
  ~OneShot();
  OneShot(const OneShot&) = delete;
  OneShot& operator=(const OneShot&) = delete;

  int fd() const { return fd_; }  // or -errno
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_;
};

// st_dev and st_ino mixed into one number that is not 0.
uint64_t file_key(const struct stat& status);

class KernelFile {
 public:
  constexpr KernelFile() = default;
  KernelFile(const KernelFile&) = delete;
  KernelFile& operator=(const KernelFile&) = delete;

  // Reads at `offset`; `path` is what to open where no valid descriptor is held.
  long pread(PathRef path, void* buffer, size_t size, int64_t offset = 0);

  // The descriptor, compared and reopened as by `pread`, for calls right after; or -errno.
  int ensure_open(PathRef path);

  // Closes the descriptor if it is still ours.
  void close();

 private:
  long pread_reopened(uint64_t seen, PathRef path, void* buffer, size_t size, int64_t offset);

  // 0: none. Else the number + 1 in the low 24 bits and 40 bits of the file's key above them.
  std::atomic<uint64_t> token_{0};
};

}  // namespace oomguard::probe

#include "shim/budget/memory_file.h"

#include <linux/magic.h>
#include <sys/statfs.h>

#include <algorithm>

#include "collector/probe/syscall.h"

namespace oomguard::budget {
namespace {

constexpr int64_t kPage = 4096;
constexpr int64_t kStatBlock = 512;
constexpr int64_t kPipeAtMost = 1024 * 1024;  // of an unprivileged pipe

constexpr int64_t pages_up(int64_t size) {
  return size > INT64_MAX - kPage ? INT64_MAX / kPage * kPage : (size + kPage - 1) / kPage * kPage;
}

constexpr int64_t end_of(int64_t offset, int64_t size) {
  return size > INT64_MAX - offset ? INT64_MAX : offset + size;
}

// On a block device nothing is memory, and its statfs is slow. (tmpfs and ramfs have major number
// 0, as overlays have.)
bool may_be_memory(const struct stat& file) noexcept {
  constexpr dev_t kMajor = 0xfff00;
  return S_ISREG(file.st_mode) && (file.st_dev & kMajor) == 0;
}

int64_t position_of(int fd) { return sys::call(SYS_lseek, fd, 0, SEEK_CUR); }

}  // namespace

// The kind first: a device, a pipe or a socket is no memory, also where it lies in a tmpfs (all of
// /dev does), and one cheap call tells.
bool MemoryFile::look_at(int fd) noexcept {
  struct stat status;
  struct statfs file_system;
  return sys::fstat(fd, &status) == 0 && may_be_memory(status) &&
         sys::call(SYS_fstatfs, fd, sys::as_arg(&file_system)) == 0 &&
         finish(&status, &file_system);
}

bool MemoryFile::look_at(const char* path) noexcept {
  struct stat status;
  struct statfs file_system;
  return sys::call(SYS_newfstatat, AT_FDCWD, sys::as_arg(path), sys::as_arg(&status), 0) == 0 &&
         may_be_memory(status) &&
         sys::call(SYS_statfs, sys::as_arg(path), sys::as_arg(&file_system)) == 0 &&
         finish(&status, &file_system);
}

bool MemoryFile::finish(const void* status, const void* file_system) noexcept {
  const auto& file = *static_cast<const struct stat*>(status);
  const auto& of = *static_cast<const struct statfs*>(file_system);
  if (of.f_type != TMPFS_MAGIC && of.f_type != RAMFS_MAGIC) return false;
  size_ = file.st_size;
  allocated_ = file.st_blocks * kStatBlock;
  // No number of blocks: no limit of its own (memfd).
  available_ = of.f_blocks == 0 ? INT64_MAX : static_cast<int64_t>(of.f_bavail) * of.f_bsize;
  return true;
}

int64_t MemoryFile::growth_in(int64_t offset, int64_t size) const noexcept {
  if (offset < 0 || size <= 0) return 0;
  const int64_t from = offset / kPage * kPage;
  const int64_t written = pages_up(end_of(offset, size)) - from;
  const int64_t existing = std::max<int64_t>(0, pages_up(size_) - from);
  const int64_t beyond = std::max<int64_t>(0, written - existing);
  const int64_t holes = std::max<int64_t>(0, pages_up(size_) - allocated_);
  const int64_t new_beyond = std::max<int64_t>(0, beyond - preallocated());
  return std::min(new_beyond + std::min(holes, written - beyond), available_);
}

// By fallocate behind the end (numpy does it before it writes an array).
int64_t MemoryFile::preallocated() const noexcept {
  return std::max<int64_t>(0, allocated_ - pages_up(size_));
}

int64_t MemoryFile::growth_of_write(int fd, int64_t size) const noexcept {
  const long flags = sys::call(SYS_fcntl, fd, F_GETFL);
  if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY) return 0;  // the real call's to answer
  return growth_in((flags & O_APPEND) != 0 ? size_ : position_of(fd), size);
}

int64_t MemoryFile::growth_to(int64_t size) const noexcept {
  const int64_t grown = size <= size_ ? 0 : pages_up(size) - pages_up(size_);
  return std::min(std::max<int64_t>(0, grown - preallocated()), available_);
}

int64_t MemoryFile::untouched_in(int64_t offset, int64_t size) const noexcept {
  if (offset < 0 || offset >= size_) return 0;  // touching it is SIGBUS
  return growth_in(offset, std::min(size, size_ - offset));
}

int64_t readable_from(int fd, const int64_t* offset, int64_t size) noexcept {
  struct stat status;
  if (size <= 0 || sys::fstat(fd, &status) != 0) return 0;
  if (!S_ISREG(status.st_mode)) return std::min(size, kPipeAtMost);
  const int64_t at = offset != nullptr ? *offset : position_of(fd);
  return at < 0 || at >= status.st_size ? 0 : std::min(size, int64_t{status.st_size} - at);
}

}  // namespace oomguard::budget

// Hooks of the view family: what programs that size themselves learn of the machine's memory
// (docs/design.md "The view").
//
// Every other open costs a compare of its path's last characters, every seek to a file's start one
// of its number. The path is looked at once the kernel has taken it: it may point anywhere.
#undef _FORTIFY_SOURCE  // its inline functions have these names

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>

#include "shim/budget/view.h"
#include "shim/core/meminfo.h"
#include "shim/interpose/export.h"
#include "shim/interpose/real.h"

namespace oomguard::interpose {
namespace {

int opened(int fd, const char* path) noexcept {
  if (fd >= 0 && meminfo::may_be_named(path)) [[unlikely]] meminfo::replace(fd);
  return fd;
}

// It has read nothing yet, so that what is under it may be replaced.
FILE* opened(FILE* stream, const char* path) noexcept {
  if (stream != nullptr && path != nullptr && meminfo::may_be_named(path)) [[unlikely]] {
    meminfo::replace(fileno(stream));
  }
  return stream;
}

[[gnu::cold, gnu::noinline]] void renew_stream(FILE* stream) {
  const int saved_errno = errno;
  const int fd = fileno(stream);
  if (fd >= 0 && meminfo::may_be_copy(fd) && ftello(stream) == 0 && meminfo::renew(fd)) {
    fflush(stream);  // what it has read of the text before
  }
  errno = saved_errno;
}

inline void sought(FILE* stream) {
  if (meminfo::has_copies.load(std::memory_order_relaxed)) [[unlikely]] renew_stream(stream);
}

off64_t sought(int fd, off64_t offset) noexcept {
  if (offset == 0 && meminfo::may_be_copy(fd)) [[unlikely]] meminfo::renew(fd);
  return offset;
}

long pages_at_most(long pages, probe::Bytes(probe::MemoryView::*bytes)) noexcept {
  probe::MemoryView view;
  if (pages <= 0 || !budget::current_view(&view)) return pages;
  return std::min(pages, static_cast<long>(view.*bytes / real.sysconf(_SC_PAGESIZE)));
}

void lower(unsigned long* units, probe::Bytes most, unsigned unit) noexcept {
  *units = std::min(*units, static_cast<unsigned long>(most) / unit);
}

// The argument that a file is made with.
mode_t mode_of(int flags, va_list list) noexcept {
  const bool makes_file = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
  return makes_file ? va_arg(list, mode_t) : 0;
}

}  // namespace
}  // namespace oomguard::interpose

using namespace oomguard::interpose;  // NOLINT: the exports below are this file's purpose
using oomguard::real;
using oomguard::probe::MemoryView;

#define OOMGUARD_MODE(flags)               \
  ensure_resolved();                       \
  va_list list;                            \
  va_start(list, flags);                   \
  const mode_t mode = mode_of(flags, list); \
  va_end(list)

OOMGUARD_EXPORT int open(const char* path, int flags, ...) {
  OOMGUARD_MODE(flags);
  return opened(real.open(path, flags, mode), path);
}

OOMGUARD_EXPORT int open64(const char* path, int flags, ...) {
  OOMGUARD_MODE(flags);
  return opened(real.open64(path, flags, mode), path);
}

OOMGUARD_EXPORT int openat(int folder, const char* path, int flags, ...) {
  OOMGUARD_MODE(flags);
  return opened(real.openat(folder, path, flags, mode), path);
}

OOMGUARD_EXPORT int openat64(int folder, const char* path, int flags, ...) {
  OOMGUARD_MODE(flags);
  return opened(real.openat64(folder, path, flags, mode), path);
}

// What the above are in programs that are built with _FORTIFY_SOURCE.
OOMGUARD_EXPORT int __open_2(const char* path, int flags) {
  ensure_resolved();
  return opened(real.__open_2(path, flags), path);
}

OOMGUARD_EXPORT int __open64_2(const char* path, int flags) {
  ensure_resolved();
  return opened(real.__open64_2(path, flags), path);
}

OOMGUARD_EXPORT int __openat_2(int folder, const char* path, int flags) {
  ensure_resolved();
  return opened(real.__openat_2(folder, path, flags), path);
}

OOMGUARD_EXPORT int __openat64_2(int folder, const char* path, int flags) {
  ensure_resolved();
  return opened(real.__openat64_2(folder, path, flags), path);
}

OOMGUARD_EXPORT FILE* fopen(const char* path, const char* mode) {
  ensure_resolved();
  return opened(real.fopen(path, mode), path);
}

OOMGUARD_EXPORT FILE* fopen64(const char* path, const char* mode) {
  ensure_resolved();
  return opened(real.fopen64(path, mode), path);
}

OOMGUARD_EXPORT FILE* freopen(const char* path, const char* mode, FILE* stream) {
  ensure_resolved();
  return opened(real.freopen(path, mode, stream), path);
}

OOMGUARD_EXPORT FILE* freopen64(const char* path, const char* mode, FILE* stream) {
  ensure_resolved();
  return opened(real.freopen64(path, mode, stream), path);
}

OOMGUARD_EXPORT off_t lseek(int fd, off_t offset, int whence) noexcept {
  ensure_resolved();
  return sought(fd, real.lseek64(fd, offset, whence));
}

OOMGUARD_EXPORT off64_t lseek64(int fd, off64_t offset, int whence) noexcept {
  ensure_resolved();
  return sought(fd, real.lseek64(fd, offset, whence));
}

OOMGUARD_EXPORT ssize_t pread(int fd, void* data, size_t size, off_t offset) {
  ensure_resolved();
  return real.pread64(fd, data, size, sought(fd, offset));
}

OOMGUARD_EXPORT ssize_t pread64(int fd, void* data, size_t size, off64_t offset) {
  ensure_resolved();
  return real.pread64(fd, data, size, sought(fd, offset));
}

OOMGUARD_EXPORT ssize_t __pread_chk(int fd, void* data, size_t size, off_t offset, size_t room) {
  ensure_resolved();
  return real.__pread64_chk(fd, data, size, sought(fd, offset), room);
}

OOMGUARD_EXPORT ssize_t __pread64_chk(int fd, void* data, size_t size, off64_t offset,
                                      size_t room) {
  ensure_resolved();
  return real.__pread64_chk(fd, data, size, sought(fd, offset), room);
}

OOMGUARD_EXPORT void rewind(FILE* stream) {
  ensure_resolved();
  real.rewind(stream);
  sought(stream);
}

OOMGUARD_EXPORT int fseek(FILE* stream, long offset, int whence) {
  ensure_resolved();
  const int status = real.fseek(stream, offset, whence);
  sought(stream);
  return status;
}

OOMGUARD_EXPORT int fseeko(FILE* stream, off_t offset, int whence) {
  ensure_resolved();
  const int status = real.fseeko64(stream, offset, whence);
  sought(stream);
  return status;
}

OOMGUARD_EXPORT int fseeko64(FILE* stream, off64_t offset, int whence) {
  ensure_resolved();
  const int status = real.fseeko64(stream, offset, whence);
  sought(stream);
  return status;
}

OOMGUARD_EXPORT long sysconf(int name) noexcept {
  ensure_resolved();
  const long value = real.sysconf(name);
  if (name == _SC_PHYS_PAGES) [[unlikely]] return pages_at_most(value, &MemoryView::total);
  if (name == _SC_AVPHYS_PAGES) [[unlikely]] return pages_at_most(value, &MemoryView::free);
  return value;
}

OOMGUARD_EXPORT long get_phys_pages() noexcept {
  ensure_resolved();
  return pages_at_most(real.get_phys_pages(), &MemoryView::total);
}

OOMGUARD_EXPORT long get_avphys_pages() noexcept {
  ensure_resolved();
  return pages_at_most(real.get_avphys_pages(), &MemoryView::free);
}

OOMGUARD_EXPORT int sysinfo(struct sysinfo* info) noexcept {
  ensure_resolved();
  const int status = real.sysinfo(info);
  MemoryView view;
  if (status != 0 || info->mem_unit == 0 || !oomguard::budget::current_view(&view)) return status;
  lower(&info->totalram, view.total, info->mem_unit);
  lower(&info->freeram, view.free, info->mem_unit);
  lower(&info->sharedram, view.in_use(), info->mem_unit);
  lower(&info->bufferram, 0, info->mem_unit);
  lower(&info->totalswap, view.swap_total, info->mem_unit);
  lower(&info->freeswap, view.swap_free, info->mem_unit);
  return status;
}

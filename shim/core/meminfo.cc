#include "shim/core/meminfo.h"

#include <errno.h>
#include <sys/mman.h>

#include "collector/probe/descriptor_link.h"
#include "collector/probe/syscall.h"
#include "shim/budget/view.h"
#include "shim/core/signal_stack.h"
#include "shim/core/thread_state.h"

namespace oomguard::meminfo {

constinit std::atomic<uint64_t> copies[kWords] = {};
constinit std::atomic<bool> has_copies{false};

namespace {

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U  // since Linux 6.3; where sysctl vm.memfd_noexec asks for it
#endif

constexpr char kKernels[] = "/proc/meminfo";
constexpr char kName[] = "oomguard-meminfo";
constexpr size_t kMostText = 4096;  // the kernel writes 1.6 KiB

bool is_kernels(int fd) noexcept {
  struct stat opened;
  struct stat kernels;
  return sys::fstat(fd, &opened) == 0 &&
         sys::call(SYS_newfstatat, AT_FDCWD, sys::as_arg(kKernels), sys::as_arg(&kernels), 0) == 0 &&
         opened.st_dev == kernels.st_dev && opened.st_ino == kernels.st_ino;
}

bool is_for_reading(int fd) noexcept {
  const long flags = sys::call(SYS_fcntl, fd, F_GETFL);
  return flags >= 0 && (flags & (O_ACCMODE | O_PATH)) == O_RDONLY;
}

int make_copy() noexcept {
  const auto make = [](unsigned flags) {
    return static_cast<int>(sys::call(SYS_memfd_create, sys::as_arg(kName), flags));
  };
  const int fd = make(MFD_CLOEXEC | MFD_NOEXEC_SEAL);
  return fd == -EINVAL ? make(MFD_CLOEXEC) : fd;
}

// The kernel's text; 0 where it cannot be read as a whole.
size_t read_kernels(char (&text)[kMostText]) noexcept {
  const int fd = sys::open(kKernels, O_RDONLY);
  if (fd < 0) return 0;
  size_t size = 0;
  long got = 1;
  while (size < kMostText && (got = sys::read(fd, text + size, kMostText - size)) > 0) {
    size += static_cast<size_t>(got);
  }
  sys::close(fd);
  return got == 0 ? size : 0;
}

// `view` null: as the kernel says.
[[gnu::noinline]] bool write_text(int fd, const probe::MemoryView* view) noexcept {
  char text[kMostText];
  const size_t size = read_kernels(text);
  if (size == 0 || !sys::may_write_file_of(size)) return false;
  if (view != nullptr) probe::lower_meminfo(text, size, *view);
  const long length = static_cast<long>(size);
  return sys::call(SYS_pwrite64, fd, sys::as_arg(text), length, 0) == length &&
         sys::call(SYS_ftruncate, fd, length) == 0;
}

// Numbers are reused: what a descriptor is, is asked of the kernel.
bool is_copy(int fd) noexcept {
  constexpr char kLink[] = "/memfd:oomguard-meminfo";
  char path[32];
  char link[sizeof kLink - 1];
  probe::descriptor_link(fd, path);
  return sys::call(SYS_readlinkat, AT_FDCWD, sys::as_arg(path), sys::as_arg(link), sizeof link) ==
             static_cast<long>(sizeof link) &&
         memcmp(link, kLink, sizeof link) == 0;
}

void mark(int fd) noexcept {
  const unsigned word = static_cast<unsigned>(fd) / 64;
  if (word >= kWords) return;
  copies[word].fetch_or(uint64_t{1} << (fd % 64), std::memory_order_relaxed);
  has_copies.store(true, std::memory_order_relaxed);
}

}  // namespace

void replace(int fd) noexcept {
  probe::MemoryView view;
  if (!is_kernels(fd) || !is_for_reading(fd) || !budget::current_view(&view)) return;
  const int copy = make_copy();
  if (copy < 0) return;
  if (write_text(copy, &view)) {
    const long flags = sys::call(SYS_fcntl, fd, F_GETFD);
    if (sys::call(SYS_dup3, copy, fd, (flags & FD_CLOEXEC) != 0 ? O_CLOEXEC : 0) == fd) mark(fd);
  }
  sys::close(copy);
}

bool renew(int fd) noexcept {
  if (!is_copy(fd)) {
    copies[fd / 64].fetch_and(~(uint64_t{1} << (fd % 64)), std::memory_order_relaxed);
    return false;
  }
  probe::MemoryView view;
  if (budget::current_view(&view)) {
    write_text(fd, &view);
  } else if (thread_state.sees_host != 0 && !on_signal_stack()) {
    write_text(fd, nullptr);
  }
  return true;
}

}  // namespace oomguard::meminfo

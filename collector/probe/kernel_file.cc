#include "collector/probe/kernel_file.h"

#include <errno.h>
#include <sys/resource.h>

namespace oomguard::probe {
namespace {

constexpr uint64_t kNumberMask = (uint64_t{1} << 24) - 1;
// Programs expect low numbers to be free ("the next open returns 3"), and some list the first 256
// to see what they were given. So descriptors that stay open move here, or into the upper half of a
// smaller table. Of a very small one they take nothing: the program may need every number, and the
// file is opened for each read.
constexpr uint64_t kLowestKeptNumber = 512;
constexpr uint64_t kSmallestTable = 64;

int number_of(uint64_t token) { return static_cast<int>(token & kNumberMask) - 1; }

// The token of an open descriptor, 0 where it is closed.
uint64_t token_of(int fd) {
  struct stat status;
  if (fd < 0 || static_cast<uint64_t>(fd) >= kNumberMask || sys::fstat(fd, &status) < 0) return 0;
  return (file_key(status) & ~kNumberMask) | (static_cast<uint64_t>(fd) + 1);
}

// Is a descriptor that was opened a moment ago still ours to close? `token`: what was opened, 0
// where the kernel did not tell. Where it does not tell now either (a filter of system calls), it
// is: else each read would leave a descriptor behind.
bool is_still_ours(int fd, uint64_t token) {
  struct stat status;
  const int error = sys::fstat(fd, &status);
  if (error != 0) return error != -EBADF;
  return token == 0 || (file_key(status) & ~kNumberMask) == (token & ~kNumberMask);
}

// The new number; `*fd` itself and false where there is none for it and it must not stay open.
bool move_high(int* fd) {
  rlimit64 limit{};
  uint64_t lowest = kLowestKeptNumber;
  if (sys::call(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, sys::as_arg(&limit)) == 0) {
    if (limit.rlim_cur < kSmallestTable) return false;
    if (limit.rlim_cur / 2 < lowest) lowest = limit.rlim_cur / 2;
  }
  const long high = sys::call(SYS_fcntl, *fd, F_DUPFD_CLOEXEC, static_cast<long>(lowest));
  if (high < 0) return false;
  sys::close(*fd);
  *fd = static_cast<int>(high);
  return true;
}

}  // namespace

bool join_path(PathRef path, char* out, size_t capacity) {
  size_t length = 0;
  for (const char* part : {path.directory, "/", path.name}) {
    for (; *part != '\0'; ++part) {
      if (length + 1 >= capacity) return false;
      out[length++] = *part;
    }
  }
  out[length] = '\0';
  return true;
}

static int open_path(PathRef path) {
  char text[640];
  if (!join_path(path, text, sizeof(text))) return -ENAMETOOLONG;
  return sys::open(text, O_RDONLY | O_NOCTTY | O_NONBLOCK);
}

OneShot::OneShot(PathRef path) : fd_(open_path(path)) {}

OneShot::~OneShot() {
  if (fd_ >= 0) sys::close(fd_);
}

uint64_t file_key(const struct stat& status) {
  uint64_t key = static_cast<uint64_t>(status.st_ino) * 0x9e3779b97f4a7c15u;
  key ^= (static_cast<uint64_t>(status.st_dev) + 0x7f4a7c15u) * 0xbf58476d1ce4e5b9u;
  key ^= key >> 31;
  key *= 0x94d049bb133111ebu;
  key ^= key >> 29;
  return key == 0 ? 1 : key;
}

int KernelFile::ensure_open(PathRef path) {
  for (int attempt = 0; attempt < 2; ++attempt) {
    const uint64_t token = token_.load(std::memory_order_relaxed);
    if (token != 0 && token_of(number_of(token)) == token) return number_of(token);
    char none[1];
    const long opened = pread_reopened(token, path, none, 0, 0);
    if (opened < 0) return static_cast<int>(opened);
  }
  return -EAGAIN;
}

long KernelFile::pread(PathRef path, void* buffer, size_t size, int64_t offset) {
  uint64_t token = token_.load(std::memory_order_relaxed);
  if (token != 0 && token_of(number_of(token)) == token) {
    const long got = sys::pread(number_of(token), buffer, size, offset);
    // ENODEV: the control group was removed; one of the same name may have taken its place.
    // EBADF: closed since the comparison.
    if (got != -ENODEV && got != -EBADF) return got;
    if (got == -ENODEV && token_.compare_exchange_strong(token, 0)) {
      sys::close(number_of(token));
      token = 0;
    }
  }
  // A program that is closing everything at this moment may close the new descriptor, too.
  long got = -EBADF;
  for (int attempt = 0; attempt < 4 && got == -EBADF; ++attempt) {
    got = pread_reopened(token, path, buffer, size, offset);
    token = token_.load(std::memory_order_relaxed);
  }
  return got;
}

[[gnu::cold, gnu::noinline]] long KernelFile::pread_reopened(uint64_t seen, PathRef path,
                                                             void* buffer, size_t size,
                                                             int64_t offset) {
  int fd = open_path(path);
  if (fd < 0) return fd;
  const bool may_stay = move_high(&fd);
  const uint64_t fresh = token_of(fd);
  const long got = sys::pread(fd, buffer, size, offset);
  const bool kept =
      may_stay && fresh != 0 && got >= 0 && token_.compare_exchange_strong(seen, fresh);
  if (!kept) {
    if (is_still_ours(fd, fresh)) sys::close(fd);
  } else if (seen != 0 && number_of(seen) != fd && token_of(number_of(seen)) == seen) {
    sys::close(number_of(seen));  // the comparison before had failed, not the descriptor
  }
  return got;
}

void KernelFile::close() {
  const uint64_t token = token_.exchange(0);
  if (token != 0 && token_of(number_of(token)) == token) sys::close(number_of(token));
}

}  // namespace oomguard::probe

// System calls without libc: no errno, no thread-local access, no cancellation point.
//
// Everything that reads the kernel goes through here, because the same readers run in three places
// where libc's wrappers are not allowed: inside a hook (errno belongs to the program), in the
// watchdog's raw thread (it has no thread control block), and in a child between vfork and exec.
// Callable from a hook: yes. Signal-safe: yes. Errors come back as -errno.
#pragma once

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include <cstddef>
#include <cstdint>

namespace oomguard::sys {

#if defined(__x86_64__)
inline long kernel_call(long nr, long a, long b, long c, long d, long e, long f) {
  long ret;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  asm volatile("syscall"
               : "=a"(ret)
               : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return ret;
}
#elif defined(__aarch64__)
inline long kernel_call(long nr, long a, long b, long c, long d, long e, long f) {
  register long x8 asm("x8") = nr;
  register long x0 asm("x0") = a;
  register long x1 asm("x1") = b;
  register long x2 asm("x2") = c;
  register long x3 asm("x3") = d;
  register long x4 asm("x4") = e;
  register long x5 asm("x5") = f;
  asm volatile("svc #0"
               : "+r"(x0)
               : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
               : "memory");
  return x0;
}
#else
#error "oomguard runs on x86-64 and aarch64"
#endif

#if defined(OOMGUARD_SYSTEM_CALL_SEAM)
// Builds of tests/faults and tests/fuzz alone: true where `*result` is the answer and the kernel is
// not asked.
bool answered_instead(long nr, const long (&arguments)[4], long* result);
#endif

inline long call(long nr, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) {
#if defined(OOMGUARD_SYSTEM_CALL_SEAM)
  if (long result; answered_instead(nr, {a, b, c, d}, &result)) return result;
#endif
  return kernel_call(nr, a, b, c, d, e, f);
}

template <typename T>
inline long as_arg(T* pointer) {
  return reinterpret_cast<long>(pointer);
}

inline int open(const char* path, int flags, int mode = 0) {
  return static_cast<int>(call(SYS_openat, AT_FDCWD, as_arg(path), flags | O_CLOEXEC, mode));
}
inline int close(int fd) { return static_cast<int>(call(SYS_close, fd)); }
inline long read(int fd, void* buffer, size_t size) {
  return call(SYS_read, fd, as_arg(buffer), static_cast<long>(size));
}
inline long write(int fd, const void* buffer, size_t size) {
  return call(SYS_write, fd, as_arg(buffer), static_cast<long>(size));
}
inline long pread(int fd, void* buffer, size_t size, int64_t offset) {
  return call(SYS_pread64, fd, as_arg(buffer), static_cast<long>(size), offset);
}
inline int fstat(int fd, struct stat* out) {
  return static_cast<int>(call(SYS_fstat, fd, as_arg(out)));
}

// A file that grows beyond RLIMIT_FSIZE gets its process SIGXFSZ, which ends it: ask before.
inline bool may_write_file_of(uint64_t size) {
  rlimit64 limit{};
  return call(SYS_prlimit64, 0, RLIMIT_FSIZE, 0, as_arg(&limit)) != 0 || limit.rlim_cur >= size;
}

// Nanoseconds of CLOCK_MONOTONIC, by a real system call (about 0.1 us; no vDSO, so that the raw
// thread may ask too).
inline int64_t monotonic_ns() {
  timespec now{};
  call(SYS_clock_gettime, CLOCK_MONOTONIC, as_arg(&now));
  return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

// The same of CLOCK_REALTIME.
inline int64_t realtime_ns() {
  timespec now{};
  call(SYS_clock_gettime, CLOCK_REALTIME, as_arg(&now));
  return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

}  // namespace oomguard::sys

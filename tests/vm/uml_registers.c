// Preloaded into the kernel of User Mode Linux. Version 6.1 has a buffer of fixed size for the
// floating-point registers of a process, and the host's kernel takes them back only as a whole: on a
// processor with more of them (AMX) no guest starts. Here what the buffer does not hold stays as it
// is in the process; nothing in a guest uses it.
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

// As in <linux/ptrace.h>, which cannot be included here: it declares what is defined below.
enum { kPeekText = 1, kPeekUser = 3, kGetRegset = 0x4204, kSetRegset = 0x4205 };

static long set_whole(int pid, void* kind, const struct iovec* part) {
  static char registers[1 << 16] __attribute__((aligned(64)));  // one thread runs all processes
  struct iovec whole = {registers, sizeof registers};
  if (syscall(SYS_ptrace, kGetRegset, pid, kind, &whole) != 0) return -1;
  if (part->iov_len > whole.iov_len) {
    errno = EFAULT;
    return -1;
  }
  memcpy(registers, part->iov_base, part->iov_len);
  return syscall(SYS_ptrace, kSetRegset, pid, kind, &whole);
}

long ptrace(long request, ...) {
  va_list all;
  va_start(all, request);
  const int pid = va_arg(all, int);
  void* const address = va_arg(all, void*);
  void* const data = va_arg(all, void*);
  va_end(all);
  if (request >= kPeekText && request <= kPeekUser) {  // libc's give the word back
    long word = 0;
    const long result = syscall(SYS_ptrace, request, pid, address, &word);
    return result == 0 ? word : result;
  }
  const long result = syscall(SYS_ptrace, request, pid, address, data);
  if (result == 0 || request != kSetRegset || (long)address != NT_X86_XSTATE) return result;
  return set_whole(pid, address, data);
}

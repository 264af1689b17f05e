#include "shim/budget/raw_thread.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

#include "collector/probe/syscall.h"

namespace oomguard::budget {
namespace {

constexpr size_t kStackBytes = 64 * 1024;
alignas(64) constinit unsigned char g_stack[kStackBytes] = {};
// What the thread pointer points to: enough zeroed room on both sides that a stray read of a
// thread-local finds nothing harmful. glibc expects a pointer to itself at its start.
alignas(64) constinit unsigned char g_thread_block[8192] = {};

constexpr long kFlags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
                        CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;

#if defined(__x86_64__)
long clone_raw(void* stack_top, std::atomic<int32_t>* thread_id, void* thread_pointer,
               RawThread::Body body) noexcept {
  long ret;
  register long r10 asm("r10") = sys::as_arg(thread_id);
  register long r8 asm("r8") = sys::as_arg(thread_pointer);
  register RawThread::Body r12 asm("r12") = body;
  asm volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xor %%ebp, %%ebp\n\t"  // the child: outermost frame, then the body, then exit
      "call *%%r12\n\t"
      "mov %[exit], %%eax\n\t"
      "xor %%edi, %%edi\n\t"
      "syscall\n\t"
      "hlt\n"
      "1:"
      : "=a"(ret)
      : "a"(static_cast<long>(SYS_clone)), "D"(kFlags), "S"(stack_top), "d"(thread_id), "r"(r10),
        "r"(r8), "r"(r12), [exit] "i"(SYS_exit)
      : "rcx", "r11", "memory");
  return ret;
}
#else
long clone_raw(void* stack_top, std::atomic<int32_t>* thread_id, void* thread_pointer,
               RawThread::Body body) noexcept {
  register long x8 asm("x8") = SYS_clone;
  register long x0 asm("x0") = kFlags;
  register long x1 asm("x1") = sys::as_arg(static_cast<unsigned char*>(stack_top));
  register long x2 asm("x2") = sys::as_arg(thread_id);
  register long x3 asm("x3") = sys::as_arg(thread_pointer);
  register long x4 asm("x4") = sys::as_arg(thread_id);
  register RawThread::Body x19 asm("x19") = body;
  asm volatile(
      "svc #0\n\t"
      "cbnz x0, 1f\n\t"
      "mov x29, #0\n\t"
      "blr x19\n\t"
      "mov x8, %[exit]\n\t"
      "mov x0, #0\n\t"
      "svc #0\n\t"
      "brk #1\n"
      "1:"
      : "+r"(x0)
      : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x19), [exit] "i"(SYS_exit)
      : "memory");
  return x0;
}
#endif

long futex(std::atomic<uint32_t>* word, int operation, uint32_t value, const timespec* timeout) {
  return sys::call(SYS_futex, sys::as_arg(word), operation, value, sys::as_arg(timeout));
}

// Linux 5.9; older kernels copy the table and close what was copied.
void leave_descriptors() noexcept {
  constexpr long kUnshare = 2;  // CLOSE_RANGE_UNSHARE
  if (sys::call(436 /*close_range*/, 0, ~0U, kUnshare) == 0) return;
  if (sys::call(SYS_unshare, CLONE_FILES) != 0) return;
  for (int fd = 0; fd < 4096; ++fd) sys::close(fd);
}

// Asks for short turns (Linux 6.12, no privilege needed): a thread that runs for microseconds is
// then scheduled soon after its sleep ends, also on a busy machine. Priority stays as it was.
void ask_for_short_turns() noexcept {
  struct {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns, deadline_ns, period_ns;
  } attributes{};
  attributes.size = sizeof attributes;
  const long nice = sys::call(SYS_getpriority, 0, 0);  // the kernel answers 20 - nice
  if (nice < 1) return;
  attributes.nice = static_cast<int32_t>(20 - nice);
  attributes.runtime_ns = 100'000;
  const long policy = sys::call(SYS_sched_getscheduler, 0);
  if (policy == 0) sys::call(SYS_sched_setattr, 0, sys::as_arg(&attributes), 0);
}

}  // namespace

constinit RawThread::Body RawThread::body_ = nullptr;

void RawThread::run() noexcept {
  leave_descriptors();
  ask_for_short_turns();
  body_();
}

bool RawThread::start(Body body) noexcept {
#if defined(__SANITIZE_ADDRESS__)
  // In a forked child the frames of the parent's thread are still marked.
  __asan_unpoison_memory_region(g_stack, sizeof g_stack);
#endif
  stop_.store(0, std::memory_order_release);
  body_ = body;
  unsigned char* thread_pointer = g_thread_block + sizeof g_thread_block / 2;
  *reinterpret_cast<void**>(thread_pointer) = thread_pointer;
  uint64_t all = ~uint64_t{0};
  uint64_t before = 0;
  const long blocked =
      sys::call(SYS_rt_sigprocmask, 0 /*SIG_BLOCK*/, sys::as_arg(&all), sys::as_arg(&before), 8);
  // A filter forbids it: `before` says nothing, and setting it would unblock the program's signals.
  if (blocked != 0) return false;
  // 16-byte aligned at the call instruction, as the ABI asks.
  const long id = clone_raw(g_stack + kStackBytes - 64, &thread_id_, thread_pointer, run);
  sys::call(SYS_rt_sigprocmask, 2 /*SIG_SETMASK*/, sys::as_arg(&before), 0, 8);
  if (id > 0) started_id_.store(static_cast<int32_t>(id), std::memory_order_release);
  return id > 0;
}

void RawThread::stop() noexcept {
  stop_.store(1);
  wake();
  for (int32_t id; (id = thread_id_.load(std::memory_order_acquire)) != 0;) {
    // The kernel's wake at thread exit is a shared one: no FUTEX_PRIVATE_FLAG here.
    const timespec limit{0, 50'000'000};
    sys::call(SYS_futex, sys::as_arg(&thread_id_), FUTEX_WAIT, id, sys::as_arg(&limit));
  }
  // It runs nothing of ours any more, but the kernel wakes us a moment before it takes the thread
  // off the process, and it is that list which CPython counts and unshare wants to be short.
  const int32_t ended = started_id_.load(std::memory_order_acquire);
  const long pid = sys::call(SYS_getpid);
  while (ended != 0 && sys::call(SYS_tgkill, pid, ended, 0) == 0) sys::call(SYS_sched_yield);
  started_id_.store(0, std::memory_order_release);
}

void RawThread::sleep(int64_t ns) noexcept {
  std::atomic<uint32_t>* word = bell();
  const uint32_t heard = word->load(std::memory_order_acquire);
  if (stopping()) return;
  const timespec pause{ns / 1'000'000'000, ns % 1'000'000'000};
  futex(word, FUTEX_WAIT, heard, &pause);
}

void RawThread::wake() noexcept {
  std::atomic<uint32_t>* word = bell();
  word->fetch_add(1, std::memory_order_acq_rel);
  futex(word, FUTEX_WAKE, 1, nullptr);
}

void RawThread::forget() noexcept {
  thread_id_.store(0, std::memory_order_release);
  started_id_.store(0, std::memory_order_release);
  stop_.store(0, std::memory_order_release);
  word_.store(nullptr);
}

}  // namespace oomguard::budget

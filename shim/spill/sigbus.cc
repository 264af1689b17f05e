#include "shim/spill/sigbus.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>

#include <cstdint>

#include "collector/probe/kernel_text.h"
#include "collector/probe/readable.h"
#include "shim/spill/kernel_action.h"
#include "shim/spill/private_pages.h"
#include "shim/spill/ranges.h"

namespace oomguard::spill {
namespace {

// What was there before; two, so that a handler that runs never reads one that is being written.
constinit KernelAction g_before[2] = {};
constinit std::atomic<uint32_t> g_current{0};

// Whoever puts a private page in place of a lent one.
constinit std::atomic<bool> g_answering{false};

// Reading needs no disk space. It fails where the disk has an error, and then nothing is answered.
// The page is read through a second view of the file: the kernel makes none of private memory, so
// that what another thread has replaced already is left alone.
bool make_private(uintptr_t page) noexcept {
  const long size = static_cast<long>(probe::page_size());
  const long view = sys::call(SYS_mremap, static_cast<long>(page), 0, size, MREMAP_MAYMOVE);
  if (view == -EINVAL) return true;
  if (is_error(view)) return false;
  const auto* from = reinterpret_cast<const volatile uint64_t*>(view);
  const long copy = map_private(0, static_cast<uint64_t>(size), 0);
  bool done = !is_error(copy) &&
              sys::is_readable(reinterpret_cast<const void*>(view), sizeof(uint64_t));
  if (done) {
    auto* to = reinterpret_cast<volatile uint64_t*>(copy);
    for (size_t i = 0; i < static_cast<size_t>(size) / sizeof *to; ++i) to[i] = from[i];
    done = move_over(copy, static_cast<uint64_t>(size), page);
  }
  if (!done && !is_error(copy)) sys::call(SYS_munmap, copy, size);
  sys::call(SYS_munmap, view, size);
  return done;
}

// With all signals blocked: a handler that jumps out would leave the flag behind. True: the write
// is tried again.
bool answer(uintptr_t page) noexcept {
  const uint64_t all = ~uint64_t{0};
  uint64_t before = 0;
  sys::call(SYS_rt_sigprocmask, SIG_BLOCK, sys::as_arg(&all), sys::as_arg(&before), 8);
  while (g_answering.exchange(true, std::memory_order_acquire)) sys::call(SYS_sched_yield);
  const bool done = make_private(page);
  g_answering.store(false, std::memory_order_release);
  sys::call(SYS_rt_sigprocmask, SIG_SETMASK, sys::as_arg(&before), 0, 8);
  return done;
}

// The page came back since this thread failed there. Should it fail on and on, it is somebody
// else's now.
bool try_again(uintptr_t address) noexcept {
  constexpr uint32_t kTimes = 64;  // threads that may have failed at once
  static constinit std::atomic<uintptr_t> last{0};
  static constinit std::atomic<uint32_t> times{0};
  if (last.exchange(address) != address) times.store(0);
  return times.fetch_add(1) < kTimes;
}

void by_default(siginfo_t* info) noexcept {
  write_action(SIGBUS, KernelAction{});
  if (info->si_code > 0) return;  // the instruction fails again
  sys::call(SYS_tgkill, sys::call(SYS_getpid), sys::call(SYS_gettid), SIGBUS);
}

void on_sigbus(int signal_number, siginfo_t* info, void* context) noexcept {
  const uintptr_t address = reinterpret_cast<uintptr_t>(info->si_addr);
  if (info->si_code > 0 && ranges.contains(address)) {
    const uintptr_t mask = static_cast<uintptr_t>(probe::page_size()) - 1;
    if (answer(address & ~mask)) return;
  } else if (info->si_code == BUS_ADRERR && ranges.was_returned(address) && try_again(address)) {
    return;
  }
  const KernelAction& before = g_before[g_current.load(std::memory_order_acquire) % 2];
  if (before.handler == 1 && info->si_code <= 0) return;
  if (before.handler <= 1) {
    by_default(info);
  } else if ((before.flags & SA_SIGINFO) != 0) {
    reinterpret_cast<void (*)(int, siginfo_t*, void*)>(before.handler)(signal_number, info,
                                                                       context);
  } else {
    reinterpret_cast<void (*)(int)>(before.handler)(signal_number);
  }
}

}  // namespace

bool is_answering_sigbus() noexcept { return g_answering.load(std::memory_order_acquire); }

void forget_sigbus() noexcept { g_answering.store(false, std::memory_order_release); }

void answer_sigbus() noexcept {
  KernelAction now;
  if (!read_action(SIGBUS, &now) || now.handler == handler_address(on_sigbus)) return;
  const uint32_t next = g_current.load(std::memory_order_relaxed) + 1;
  g_before[next % 2] = now;
  g_current.store(next, std::memory_order_release);
  const uint64_t kept = now.handler > 1 ? now.flags & (SA_NODEFER | SA_RESTART) : 0;
  KernelAction ours = make_action(handler_address(on_sigbus), SA_SIGINFO | SA_ONSTACK | kept);
  ours.mask = now.mask;
  write_action(SIGBUS, ours);
}

}  // namespace oomguard::spill

#include "shim/spill/sigbus.h"

#include <signal.h>

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

// Reading needs no disk space. It fails where the disk has an error, and then nothing is answered.
bool make_private(uintptr_t page) noexcept {
  if (!sys::is_readable(reinterpret_cast<const void*>(page), sizeof(uint64_t))) return false;
  const uint64_t size = static_cast<uint64_t>(probe::page_size());
  const long copy = map_private(0, size, 0);
  if (is_error(copy)) return false;
  const auto* from = reinterpret_cast<const volatile uint64_t*>(page);
  auto* to = reinterpret_cast<volatile uint64_t*>(copy);
  for (size_t i = 0; i < size / sizeof *to; ++i) to[i] = from[i];
  return move_over(copy, size, page);
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
    if (make_private(address & ~mask)) return;
  }
  const KernelAction& before = g_before[g_current.load(std::memory_order_acquire) % 2];
  if (before.handler == 1 && info->si_code <= 0) return;
  if (before.handler <= 1) {
    by_default(info);
  } else if ((before.flags & SA_SIGINFO) != 0) {
    reinterpret_cast<void (*)(int, siginfo_t*, void*)>(before.handler)(signal_number, info, context);
  } else {
    reinterpret_cast<void (*)(int)>(before.handler)(signal_number);
  }
}

}  // namespace

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

#include "shim/trace/thread_stack.h"

#include <atomic>

#include "collector/probe/readable.h"
#include "shim/core/dl.h"

namespace oomguard::trace {
namespace {

constexpr uintptr_t kPage = 4096;
// A thread that is asked for the first time deep in a recursion: 16,384 questions, 1.5 ms, once.
constexpr uintptr_t kFarthest = uintptr_t{64} << 20;
// Below the stack pointer a function may keep so much, and what it has popped is said to be there
// still.
constexpr uintptr_t kRedZone = 128;
constexpr uintptr_t kLargestFrame = uintptr_t{16} << 20;

// The stack that the thread began with, as far as it was seen: [low, high). high 0: not yet.
struct OwnStack {
  uintptr_t low;
  uintptr_t high;
};
[[gnu::tls_model("initial-exec")]] thread_local constinit OwnStack t_own{};

constinit uintptr_t g_main_thread = 0;     // its thread pointer
constinit uintptr_t g_main_stack_end = 0;  // 0: not known

uintptr_t page_of(uintptr_t address) { return address & ~(kPage - 1); }

uintptr_t thread_pointer() {
#if defined(__x86_64__)
  uintptr_t value;
  asm("movq %%fs:0, %0" : "=r"(value));
  return value;
#else
  uintptr_t value;
  asm("mrs %0, tpidr_el0" : "=r"(value));
  return value;
#endif
}

// An address at the upper end of the stack that this thread began with: libc puts a thread's
// control block there.
uintptr_t upper_end() {
  const uintptr_t thread = thread_pointer();
  return thread == g_main_thread ? g_main_stack_end : thread;
}

bool all_readable(uintptr_t start, uintptr_t end) {
  return end > start && end - start <= kFarthest &&
         sys::is_readable(reinterpret_cast<const void*>(start), end - start);
}

}  // namespace

void find_main_stack() noexcept {
  g_main_thread = thread_pointer();
  if (const auto* end = static_cast<void* const*>(dlsym(RTLD_DEFAULT, "__libc_stack_end"))) {
    g_main_stack_end = reinterpret_cast<uintptr_t>(*end);
  }
}

// A signal handler may do the same in between: each value that is stored is right by itself, and
// `high` is stored last.
bool ThreadStack::enter(uintptr_t address) noexcept {
  OwnStack& own = t_own;
  if (own.high == 0 || address < own.low + kRedZone || address >= own.high) {
    const uintptr_t page = page_of(address - kRedZone);
    const uintptr_t next = own.high != 0 ? own.low : upper_end();
    if (!all_readable(page, next)) return enter_other(address);
    const uintptr_t high = own.high != 0 ? own.high : next;
    own.low = page;
    std::atomic_signal_fence(std::memory_order_release);
    own.high = high;
  }
  low_ = own.low;
  high_ = own.high;
  is_own_ = true;
  return true;
}

bool ThreadStack::enter_other(uintptr_t address) noexcept {
  low_ = page_of(address);
  high_ = low_ + kPage;
  is_own_ = false;
  if (!sys::is_readable(reinterpret_cast<const void*>(low_), sizeof(uintptr_t))) return false;
  const uintptr_t below = page_of(address - kRedZone);
  if (below != low_ && sys::is_readable(reinterpret_cast<const void*>(below), sizeof(uintptr_t))) {
    low_ = below;
  }
  return true;
}

bool ThreadStack::reaches(uintptr_t at) noexcept {
  if (at < low_ || at % sizeof(uintptr_t) != 0) return false;
  if (at < high_) return true;
  if (at - high_ > kLargestFrame) return false;
  while (high_ <= at) {
    const uintptr_t page = page_of(high_);
    if (!sys::is_readable(reinterpret_cast<const void*>(page), sizeof(uintptr_t))) return false;
    high_ = page + kPage;
  }
  return true;
}

}  // namespace oomguard::trace

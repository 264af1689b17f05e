#include "shim/budget/alarm.h"

#include "collector/probe/syscall.h"

namespace oomguard::budget {

bool Alarm::ready(int64_t now_ns) const noexcept {
  const int64_t sent_ns = sent_ns_.load(std::memory_order_acquire);
  return signal_.load() != 0 && (sent_ns == 0 || now_ns - sent_ns > kLostNs) &&
         now_ns - handled_ns_.load(std::memory_order_relaxed) > kPauseNs;
}

namespace {

// The program may have put the signal back to its default, which would end it. The kernel's own
// layout of struct sigaction: the handler comes first.
bool has_handler(int signal_number) noexcept {
  unsigned long action[8] = {};
  return sys::call(SYS_rt_sigaction, signal_number, 0, sys::as_arg(action), 8) == 0 &&
         action[0] > 1;
}

}  // namespace

bool Alarm::send(uint64_t number, int32_t growing_thread, int64_t now_ns) noexcept {
  int64_t before = sent_ns_.load(std::memory_order_acquire);
  if (!ready(now_ns) || !has_handler(signal_.load())) return false;
  if (!sent_ns_.compare_exchange_strong(before, now_ns, std::memory_order_acq_rel)) return false;
  refusal_.store(number, std::memory_order_relaxed);
  growing_thread_.store(growing_thread, std::memory_order_relaxed);
  const long pid = sys::call(SYS_getpid);
  if (sys::call(SYS_tgkill, pid, pid, signal_.load()) == 0) return true;
  sent_ns_.store(0, std::memory_order_release);
  return false;
}

void Alarm::handled(int64_t now_ns) noexcept {
  handled_ns_.store(now_ns, std::memory_order_relaxed);
  sent_ns_.store(0, std::memory_order_release);
}

uint64_t Alarm::refusal(int32_t* growing_thread) const noexcept {
  *growing_thread = growing_thread_.load(std::memory_order_relaxed);
  return refusal_.load(std::memory_order_relaxed);
}

}  // namespace oomguard::budget

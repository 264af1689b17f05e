#include "shim/core/chores.h"

#include "collector/probe/syscall.h"
#include "shim/budget/gate.h"
#include "shim/budget/watchdog.h"
#include "shim/python/bootstrap.h"

namespace oomguard::chores {

void on_slow_path(int32_t thread_id) noexcept {
  if (python::state() == python::State::kWaiting) [[unlikely]] {
    python::on_slow_path(thread_id == static_cast<int32_t>(sys::call(SYS_getpid)));
  }
  if (budget::watchdog::due()) [[unlikely]] {
    budget::watchdog::start_if_due(budget::program_now_ns());
  }
}

int64_t credit_limit() noexcept {
  // Queued counts too: the call may run before `site` is done, and then asks to be queued again.
  const python::State state = python::state();
  if (state == python::State::kWaiting || state == python::State::kQueued) return 0;
  return budget::watchdog::due() ? 16 * 1024 : INT64_MAX;
}

}  // namespace oomguard::chores

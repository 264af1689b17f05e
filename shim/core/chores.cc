#include "shim/core/chores.h"

#include "collector/probe/syscall.h"
#include "shim/budget/gate.h"
#include "shim/budget/watchdog.h"
#include "shim/core/model_files.h"
#include "shim/core/thread_state.h"
#include "shim/python/bootstrap.h"

namespace oomguard::chores {
namespace {

// A program may link libpython and start it late or never; `site` takes many times as much.
constexpr int64_t kBeforeInterpreter = 2 * 1024;

bool is_main(int32_t thread_id) noexcept {
  return thread_id == static_cast<int32_t>(sys::call(SYS_getpid));
}

}  // namespace

void on_slow_path(int32_t thread_id) noexcept {
  if (python::state() == python::State::kWaiting) [[unlikely]] {
    python::on_slow_path(is_main(thread_id));
  }
  budget::watchdog::stir();
  const int64_t now_ns = budget::program_now_ns();
  budget::Gate& gate = budget::gate;
  const bool scarce = gate.notice.due();
  if ((scarce || gate.notice.progress_due()) && gate.in_cell()) [[unlikely]] {
    if (scarce && gate.notice.take(now_ns)) python::show_notice_soon(true);
    if (gate.notice.take_progress(now_ns)) python::show_notice_soon(false);
  }
  if (budget::watchdog::due()) [[unlikely]] budget::watchdog::start_if_due(now_ns);
  model_files::look_if_due(now_ns);
}

// Queued counts too: the call may run before `site` is done, and then asks to be queued again.
bool awaits_interpreter() noexcept {
  const python::State state = python::state();
  return state == python::State::kWaiting || state == python::State::kQueued;
}

int64_t credit_limit() noexcept {
  if (awaits_interpreter() && is_main(current_thread_id())) {
    return python::is_initialized() ? 0 : kBeforeInterpreter;
  }
  return budget::watchdog::due() ? 16 * 1024 : INT64_MAX;
}

}  // namespace oomguard::chores

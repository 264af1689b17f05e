#include "shim/core/exec.h"

#include <time.h>

#include "collector/probe/syscall.h"
#include "shim/budget/gate.h"
#include "shim/budget/group_table.h"
#include "shim/budget/watchdog.h"
#include "shim/children/scratch.h"
#include "shim/core/session.h"
#include "shim/gpu/ledger.h"

namespace oomguard {
namespace {

// Takes a pending signal off this thread: one that is blocked would stay pending in the new
// program, where its default action is death.
void take_pending(int32_t signal) noexcept {
  const uint64_t set = uint64_t{1} << (signal - 1);
  const timespec no_wait{0, 0};
  while (sys::call(SYS_rt_sigtimedwait, sys::as_arg(&set), 0, sys::as_arg(&no_wait), 8) == signal) {
  }
}

}  // namespace

Executing::Executing() noexcept
    : own_process_(budget::gate.mode() == budget::Gate::Mode::kOn && !children::in_vfork_child()) {
  if (!own_process_) return;
  session::before_exec();
  budget::watchdog::pause();
  signal_ = budget::gate.alarm.take_signal();
  if (signal_ > 0) take_pending(signal_);
  if (budget::GroupTable::Slot* slot = budget::group_table.own(); slot != nullptr) slot->bytes = 0;
  gpu::ledger.hide_from_tree();
}

Executing::~Executing() {
  if (!own_process_) return;
  if (signal_ > 0) {
    budget::gate.alarm.set_signal(signal_);
    budget::gate.alarm.handled(budget::program_now_ns());
  }
  budget::watchdog::resume();
  gpu::ledger.show_to_tree();
  session::exec_failed();
}

}  // namespace oomguard

#include "shim/budget/view.h"

#include "collector/probe/probe_state.h"
#include "shim/budget/gate.h"
#include "shim/budget/group_table.h"
#include "shim/budget/ledger.h"
#include "shim/core/signal_stack.h"
#include "shim/core/thread_state.h"

namespace oomguard::budget {

namespace {

// Apart, so that a handler on a small stack of its own is not taken over it.
[[gnu::noinline]] bool look(probe::MemoryView* out) noexcept {
  const SlowPathScope scope;
  const int64_t now_ns = program_now_ns();
  probe::Reading reading;
  probe::Headroom headroom;
  if (!gate.owns_descriptors()) return false;
  if (!gate.look(probe::Depth::kFull, now_ns, &reading, &headroom)) return false;
  const GroupTable::Others others = group_table.others(now_ns, 0);
  const Bytes in_flight = ledger.in_flight(current_thread_id(), now_ns, gate.residency) + gate.pending() +
                          others.in_flight + others.pending;
  const Bytes machine_total = gate.probe.state().mem_total.load(std::memory_order_relaxed);
  return probe::view_of(reading, machine_total, gate.reserve() + in_flight, gate.swap_share(), out);
}

}  // namespace

bool current_view(probe::MemoryView* out) noexcept {
  const ThreadState& thread = thread_state;
  if (gate.mode() != Gate::Mode::kOn || gate.values().view == options::View::kHost) return false;
  if (thread.sees_host != 0 || thread.in_slow_path != 0 || on_signal_stack()) return false;
  return look(out);
}

}  // namespace oomguard::budget

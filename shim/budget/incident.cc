#include "shim/budget/incident.h"

namespace oomguard::budget {

bool Incident::claim_relief() noexcept {
  if (relieved_.exchange(true, std::memory_order_acq_rel)) return false;
  relieved_ns_.store(0, std::memory_order_relaxed);
  return true;
}

uint64_t Incident::refused(int64_t now_ns, bool with_grace) noexcept {
  last_ns_.store(now_ns, std::memory_order_relaxed);
  surfaced_.store(false, std::memory_order_release);
  if (with_grace) grace_.store(true, std::memory_order_release);
  uint64_t state = state_.load(std::memory_order_acquire);
  while ((state & 1) == 0 && !state_.compare_exchange_weak(state, ((state >> 1) + 1) << 1 | 1,
                                                           std::memory_order_acq_rel)) {
  }
  return (state & 1) != 0 ? state >> 1 : (state >> 1) + 1;
}

void Incident::look(int64_t now_ns, bool room) noexcept {
  if (!room || ending_.load(std::memory_order_acquire)) return;
  const int64_t quiet_ns = now_ns - last_ns_.load(std::memory_order_relaxed);
  // The pause begins with the first look after the relief, also where no refusal followed it.
  const int64_t relieved_ns = relieved_ns_.load(std::memory_order_relaxed);
  if (relieved_ns == 0) {
    relieved_ns_.store(now_ns, std::memory_order_relaxed);
  } else if (now_ns - relieved_ns > kReliefPauseNs) {
    relieved_.store(false, std::memory_order_release);
  }
  if (!open()) return;
  if (!surfaced_.load(std::memory_order_acquire) && quiet_ns < kHandledNs) return;
  grace_.store(false, std::memory_order_release);
  state_.fetch_and(~uint64_t{1}, std::memory_order_acq_rel);
}

}  // namespace oomguard::budget

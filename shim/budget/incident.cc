#include "shim/budget/incident.h"

namespace oomguard::budget {

bool Incident::claim_relief() noexcept {
  return !relieved_.exchange(true, std::memory_order_acq_rel);
}

uint64_t Incident::refused(int64_t now_ns, bool with_grace) noexcept {
  last_ns_.store(now_ns, std::memory_order_relaxed);
  surfaced_.store(false, std::memory_order_release);
  if (with_grace) grace_.store(true, std::memory_order_release);
  if (!open_.exchange(true, std::memory_order_acq_rel)) id_.fetch_add(1, std::memory_order_relaxed);
  return id();
}

void Incident::look(int64_t now_ns, bool room) noexcept {
  if (!room || ending_.load(std::memory_order_acquire)) return;
  const bool quiet = now_ns - last_ns_.load(std::memory_order_relaxed) > kHandledNs;
  if (!open()) {
    // Caches were released and the request then fitted: allowed again after a pause.
    if (quiet) relieved_.store(false, std::memory_order_release);
    return;
  }
  if (!surfaced_.load(std::memory_order_acquire) && !quiet) return;
  grace_.store(false, std::memory_order_release);
  relieved_.store(false, std::memory_order_release);
  open_.store(false, std::memory_order_release);
}

}  // namespace oomguard::budget

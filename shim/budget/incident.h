// One incident: from the first refusal until there is room again and its exception was shown, or no
// other refusal followed for a moment (programs handle refusals themselves, and never show them).
//
// While it is open the reserve opens by a share (grace), so that the exception can be built and
// printed; without room it stays open, so that a full kernel can still run the cell that frees
// memory. Caches are released once per incident, and not again within two seconds.
// Thread-safe: atomics only. Callable from a hook and from the raw thread: yes.
#pragma once

#include <atomic>
#include <cstdint>

namespace oomguard::budget {

class Incident {
 public:
  bool open() const noexcept { return (state_.load(std::memory_order_acquire) & 1) != 0; }
  uint64_t id() const noexcept { return state_.load(std::memory_order_acquire) >> 1; }
  // True once per incident: the caller may release caches (slow) before it refuses.
  bool claim_relief() noexcept;

  // A refusal happened; opens an incident where none is open, and grace where `with_grace`.
  // Returns the incident's number.
  uint64_t refused(int64_t now_ns, bool with_grace) noexcept;
  bool grace() const noexcept { return grace_.load(std::memory_order_acquire); }

  void surfaced() noexcept { surfaced_.store(true, std::memory_order_release); }
  // The exception ends the program: grace stays until the end.
  void ending() noexcept { ending_.store(true, std::memory_order_release); }

  // Called with every look at the limits; `room`: the whole reserve is free again.
  void look(int64_t now_ns, bool room) noexcept;

 private:
  static constexpr int64_t kHandledNs = 100'000'000;
  static constexpr int64_t kReliefPauseNs = 2'000'000'000;

  std::atomic<uint64_t> state_{0};  // number << 1 | open
  std::atomic<bool> grace_{false};
  std::atomic<bool> surfaced_{false};
  std::atomic<bool> ending_{false};
  std::atomic<bool> relieved_{false};
  std::atomic<int64_t> relieved_ns_{0};  // of the first look after a relief, 0: none yet
  std::atomic<int64_t> last_ns_{0};
};

}  // namespace oomguard::budget

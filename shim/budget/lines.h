// How near to a limit a request may come: pure arithmetic of the reserve, the two lines under it
// and the credit that a thread gets. No state, no files. Callable from a hook: yes.
#pragma once

#include <algorithm>
#include <cstdint>

namespace oomguard::budget {

using Bytes = int64_t;

inline constexpr Bytes kMiB = 1024 * 1024;
inline constexpr Bytes kNoLimit = INT64_MAX;

// Kept free for raising and reporting. The kernel's counters may lag by 256 KiB per CPU
// (MEMCG_CHARGE_BATCH, 64 pages each), the rest is for Python's error path.
constexpr Bytes computed_reserve(Bytes limit, uint32_t cpus) {
  const Bytes share = limit == kNoLimit ? 96 * kMiB : limit / 100;
  return std::clamp(16 * kMiB + Bytes{cpus} * 256 * 1024 + share, 24 * kMiB, 96 * kMiB);
}

// IPython parses and renders what a script only prints: 4 to 8 MiB where the library frames were
// let go. Small containers give less.
constexpr Bytes shell_share(Bytes limit) { return std::min(16 * kMiB, limit / 32); }

// Requests at least this large are decided one by one.
constexpr Bytes large_threshold(Bytes headroom) {
  return std::max<Bytes>(64 * 1024, headroom / 64);
}

// In grace (a refusal's exception is on its way), anything up to this counts as small.
inline constexpr Bytes kSmallInGrace = kMiB;

struct Lines {
  Bytes large;  // a large request must leave this much
  Bytes small;  // a small one may dip to here
};

// `blind`: growth that can happen between two looks of the watchdog. `bystander`: somebody else on
// the same limit is growing; its small requests are no danger and are the last to refuse. `only_c`:
// no interpreter builds an exception from what is left, and none can be sent instead: who comes too
// near is ended (announced_end_line), so small requests have to stop earlier.
constexpr Lines lines(Bytes reserve, Bytes blind, bool grace, bool bystander, bool only_c = false) {
  const Bytes grace_line = reserve / 8;  // the rest is for showing it (Gate::add_privilege)
  const Bytes small =
      bystander ? reserve / 16 : (grace ? grace_line : reserve / 4) * (only_c ? 2 : 1);
  return {grace ? reserve / 2 : reserve + blind, small};
}

// The credit of one thread: small enough that all idle credit together stays far below the reserve.
constexpr Bytes credit_slice(Bytes room, uint32_t threads) {
  if (room <= 0) return 0;
  const Bytes share = 16 * kMiB / std::max<Bytes>(1, threads);
  return std::min({kMiB, room / 256, share});
}

// How long an answer of the kernel may be used again: no machine fills memory faster than
// kFillBytesPerNs on each CPU (measured 12 GB/s with huge pages), and half of what is left may be
// handed out meanwhile.
inline constexpr int64_t kFillBytesPerNs = 12;
constexpr int64_t reading_valid_ns(Bytes headroom, uint32_t cpus) {
  const int64_t speed = kFillBytesPerNs * std::clamp<int64_t>(cpus, 1, 4);
  return std::clamp<int64_t>(headroom / 2 / speed, 0, 250'000'000);
}

// The pause between two looks of the watchdog.
constexpr int64_t tick_ns(Bytes headroom, uint32_t cpus, bool calm) {
  const int64_t speed = kFillBytesPerNs * std::clamp<int64_t>(cpus, 1, 4);
  const int64_t floor_ns = calm ? 5'000'000 : 1'000'000;
  return std::clamp<int64_t>(std::max<Bytes>(headroom, 0) / speed, floor_ns, 250'000'000);
}

// The same where neither the process nor the limit's usage moved for `quiet_ns`: looking costs 40
// us with the wake-up. What could fill meanwhile is one thread's (2.75 GB/s); a request wakes the
// watchdog.
constexpr int64_t doze_ns(Bytes headroom, int64_t quiet_ns) {
  constexpr int64_t kShort = 32'000'000;
  const int64_t longest =
      std::clamp<int64_t>(std::max<Bytes>(headroom, 0) * 4 / 11, kShort, 250'000'000);
  return std::clamp<int64_t>(quiet_ns / 64, 0, longest);
}

// Growth that no request announced, as far as it is taken for noise.
inline constexpr Bytes kUngatedNoise = 8 * kMiB;

}  // namespace oomguard::budget

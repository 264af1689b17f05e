// How the parts of a program that must not fail get by when memory is nearly full: every thread may
// take a trickle of small requests below the small line. A cell that grows uses its trickle up in a
// moment and is refused; an event loop, a printer thread or a cell that only frees something needs
// no more than that. (28 bytes refused to a kernel's own coroutine leave the kernel deaf for good.)
// Plain state of one thread. Callable from a hook: yes.
#pragma once

#include <algorithm>
#include <cstdint>

namespace oomguard::budget {

inline constexpr int64_t kDipRequest = 32 * 1024;  // larger ones never dip
inline constexpr int64_t kDipBurst = 512 * 1024;
inline constexpr int64_t kDipPerSecond = 64 * 1024;
inline constexpr int64_t kDipSlice = 4096;         // taken at once: the kernel is asked once for it
// What stays free whatever happens: page tables, stacks, pages of files that are written, none of
// which a request asks for.
inline constexpr int64_t kDipLine = 1024 * 1024;
// With less the kernel's next page may be its reason to kill.
inline constexpr int64_t kBottomLine = 256 * 1024;
// What the kernel reclaims meanwhile is gone with the next few pages: only from here on it is away
// from it.
inline constexpr int64_t kOffBottom = 2 * kDipLine;

struct Dip {
  int64_t left;
  int64_t at_ns;  // 0: never used, the whole burst is there

  // Takes `size` from the trickle, a slice where it has that much: without slices, on a machine
  // whose system calls are slow, looks take so long that the trickle comes back faster than a loop
  // of tiny objects uses it up. Returns what was taken; -1 where it is used up.
  constexpr int64_t take(int64_t size, int64_t now_ns) {
    if (size > kDipRequest) return -1;
    if (at_ns == 0) left = kDipBurst;
    // Whole milliseconds only, so that frequent takers do not lose what came in between.
    const int64_t passed_ms =
        at_ns == 0 ? 0 : std::clamp<int64_t>((now_ns - at_ns) / 1'000'000, 0, 10'000);
    left = std::min(kDipBurst, left + passed_ms * kDipPerSecond / 1000);
    at_ns = at_ns == 0 ? now_ns : at_ns + passed_ms * 1'000'000;
    if (passed_ms == 10'000) at_ns = now_ns;
    if (left < size) return -1;
    const int64_t taken = std::clamp(kDipSlice, size, std::max(left, size));
    left -= taken;
    return taken;
  }
};

}  // namespace oomguard::budget

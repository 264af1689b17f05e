// How memory moves, from one look of the watchdog to the next: how fast this process grows, whether
// anybody asked for it, and whose growth it is. Plain state of one thread, no files.
// Callable from the raw thread: yes.
#pragma once

#include <algorithm>

#include "shim/budget/growth.h"
#include "shim/budget/lines.h"

namespace oomguard::budget {

class Tide {
 public:
  // `own`: private and shared memory of this process; `needed`: of everybody on the binding limit;
  // `granted`: everything that requests got; `is_short`: memory is short; `under`: by how much less
  // is left than large requests must leave, 0 where it is not; `in_flight`: of what was granted,
  // what is still being filled.
  constexpr void update(Bytes own, Bytes needed, Bytes granted, bool is_short, Bytes under,
                        Bytes in_flight, int64_t now_ns) {
    if (at_ns_ == 0) {  // what was granted before the first look, and filled after it
      granted_.update(granted - in_flight, now_ns);
      granted_slow_.update(granted - in_flight, now_ns);
    }
    in_flight_ = in_flight;
    const int64_t passed_ns = now_ns - at_ns_;
    // A file in memory counts when the call that made it grow has ended: at once, where the limit
    // saw it grow over that time.
    const Bytes grown = std::min(own - own_now_, needed - needed_now_);
    const Bytes step = at_ns_ != 0 && passed_ns > 0 && grown > 0 ? grown * kMs / passed_ns : 0;
    pace_per_ms_ = std::max(step, pace_per_ms_ - pace_per_ms_ / 8);
    at_ns_ = now_ns;
    still_ = own == own_now_ && std::max(needed - needed_now_, needed_now_ - needed) < kStill;
    own_now_ = own;
    needed_now_ = needed;
    granted_now_ = granted;
    own_.update(own, now_ns);
    needed_.update(needed, now_ns);
    granted_.update(granted, now_ns);
    own_brief_.update(own, now_ns);
    needed_brief_.update(needed, now_ns);
    granted_brief_.update(granted, now_ns);
    own_slow_.update(own, now_ns);
    needed_slow_.update(needed, now_ns);
    granted_slow_.update(granted, now_ns);
    // What was granted a moment ago is still to be filled.
    if (!is_short || !was_short_)
      start_ = {own, needed, granted - std::max(granted_.recent(), in_flight)};
    was_short_ = is_short;
    if (under == 0) {
      under_ = {own, needed, granted};
    } else if (!was_under_) {
      under_.own = std::max(under_.own, own - under);
      under_.needed = std::max(under_.needed, needed - under);
    }
    under_.own = std::min(under_.own, own);  // it let go of what its children hold as well
    was_under_ = under != 0;
  }

  // What grew so far is settled (its pages were lent): only what grows from here on counts.
  // The pace stays.
  constexpr void restart(Bytes own, int64_t now_ns) {
    const Bytes pace = std::max(pace_per_ms_, own_.recent() / (kWindowNs / kMs));
    const Mark start{own, needed_now_, granted_now_};
    *this = Tide{};
    at_ns_ = now_ns;
    own_now_ = own;
    needed_now_ = start.needed;
    granted_now_ = start.granted;
    start_ = under_ = start;
    was_short_ = was_under_ = true;
    pace_per_ms_ = pace;
  }

  constexpr Bytes own() const { return own_now_; }
  constexpr Bytes recent() const { return own_.recent(); }
  constexpr Bytes recent_needed() const { return needed_.recent(); }
  constexpr bool moved() const { return own_.moved(); }
  // Neither this process nor the limit's usage changed with the last look.
  constexpr bool still() const { return still_; }

  // Memory that was granted earlier is being filled. What was granted counts as announced for twice
  // as long as what grew, because it is filled after it was granted. Growth that the limit does not
  // feel is none: pages of a shared file that are there already, and now mapped here as well.
  constexpr bool filling() const {
    return std::min(own_.recent(), needed_.recent()) - granted_.recent() >= kUngatedNoise;
  }
  // The same with less noise, over a longer time; and over all of the time since memory is short.
  // What was announced comes with headers, stacks and arenas of its own: a program of large
  // requests alone was ended for 1 MiB besides 577.
  constexpr bool creeping() const {
    const Bytes grown = std::min(own_slow_.recent(), needed_slow_.recent());
    return grown - granted_slow_.recent() >= kMiB + grown / 128 ||
           std::min(own_now_ - start_.own, needed_now_ - start_.needed) -
                   (granted_now_ - start_.granted) >=
               2 * kMiB;
  }
  // What the gate granted before leaves the line for large requests: what grows under it, and was
  // not granted since, was announced by nobody, however much was granted a moment ago. Nor what
  // grows in a moment in which nothing was granted and nothing granted is being filled: requests of
  // before were freed again, and count in full (a process copies its pages after a fork).
  constexpr bool sinking() const {
    const Bytes under = std::min(own_now_ - under_.own, needed_now_ - under_.needed);
    const Bytes brief = std::min({under, own_brief_.recent(), needed_brief_.recent()});
    return under - (granted_now_ - under_.granted) >= kSinks ||
           (in_flight_ == 0 && brief - granted_brief_.recent() >= kSinks);
  }
  // It goes on growing.
  constexpr bool grows() const { return own_brief_.recent() >= 4 * kGoesOn; }
  // `others`: recent growth of others that are asked the same question.
  // This process's growth, with theirs, is at least half of what the limit's usage grew by, and
  // goes on. One that grew until a moment ago, and then started a child that fills the rest, is not
  // the one that grows.
  constexpr bool ours(Bytes others = 0) const {
    if (needed_brief_.recent() >= kMiB && others == 0 &&
        own_brief_.recent() * 4 < needed_brief_.recent()) {
      return false;
    }
    if (needed_slow_.recent() < kMiB) {  // slow: since memory is short
      const Bytes own = own_now_ - start_.own;
      return own >= kMiB / 4 && (own + others) * 2 >= needed_now_ - start_.needed;
    }
    if (own_.recent() >= kMiB) {
      return own_brief_.recent() >= kGoesOn && (own_.recent() + others) * 2 >= needed_.recent();
    }
    return own_.recent() >= kGoesOn && own_slow_.recent() >= kMiB / 2 &&
           (own_slow_.recent() + others) * 2 >= needed_slow_.recent();
  }
  // What may grow in `ns`: at the pace of the last window or of the newest steps, whichever is
  // more.
  constexpr Bytes grown_in(int64_t ns) const {
    return std::max(own_.recent() / (kWindowNs / kMs), pace_per_ms_) * (ns / 1000) / 1000;
  }

  static constexpr int64_t kWindowNs = 200'000'000;
  // The kernel's counters move in steps of 64 pages for each CPU.
  static constexpr Bytes kStill = 512 * 1024;

 private:
  static constexpr int64_t kMs = 1'000'000;
  // Page tables and the rest of huge pages are granted to nobody.
  static constexpr Bytes kSinks = 4 * kMiB;
  static constexpr int64_t kBriefNs = 48'000'000;
  static constexpr int64_t kSlowNs = 2'000'000'000;
  static constexpr Bytes kGoesOn = 16 * 1024;  // a thread that waits touches a page now and then

  struct Mark {
    Bytes own = 0;
    Bytes needed = 0;
    Bytes granted = 0;
  };
  int64_t at_ns_ = 0;
  Bytes own_now_ = 0;
  Bytes needed_now_ = 0;
  Bytes granted_now_ = 0;
  Bytes pace_per_ms_ = 0;
  Bytes in_flight_ = 0;
  bool still_ = false;
  bool was_short_ = false;
  bool was_under_ = false;
  Mark start_;
  Mark under_;
  Growth own_{kWindowNs};
  Growth needed_{kWindowNs};
  Growth granted_{2 * kWindowNs};
  Growth own_brief_{kBriefNs};
  Growth needed_brief_{kBriefNs};
  Growth granted_brief_{2 * kBriefNs};
  Growth own_slow_{kSlowNs};
  Growth needed_slow_{kSlowNs};
  Growth granted_slow_{2 * kSlowNs};
};

}  // namespace oomguard::budget

// What the watchdog does while memory is filled that nobody asks for: pure arithmetic from what it
// sees to its steps. The order, from far to near: an exception at the early line where pages cannot
// be lent; lending at the last moment where they can; an exception once what was filled would not
// have fit; the end of the process with its report. (docs/watchdog.md "Escalation") Plain values,
// no state, no files. Callable from the raw thread: yes.
#pragma once

#include <algorithm>

#include "shim/budget/dip.h"
#include "shim/budget/lines.h"

namespace oomguard::budget {

struct Situation {
  Bytes headroom = kNoLimit;
  Bytes reserve = 0;
  Bytes small_line = 0;
  Bytes counters_lag = 0;  // of the kernel's counters
  Bytes per_look = 0;      // what may grow until the next look has ended
  Bytes per_late_look = 0;  // the same where that is twice as late as looks were lately
  Bytes per_delivery = 0;  // what may grow until an exception has reached its thread
  bool ours = false;       // this process is the one that grows, of several the one to act
  bool growing = false;    // it grows, whether the others do more or not
  bool filling = false;    // growth that no request announced
  bool creeping = false;   // the same, slow: more than noise only since memory is short
  Bytes in_flight = 0;     // of what was granted, what is not filled yet
  bool copying = false;    // more than noise of it are pages copied after a fork: nobody's request
  bool raises = true;      // an exception can reach the program
  int64_t at_bottom_ns = 0;  // since next to nothing was left (kBottomLine), never kOffBottom since
  int64_t unanswered_ns = 0;  // since the last exception was sent, as long as it was not raised
  bool lendable = false;   // lending may help
  bool grew_since_lending = true;
  // Pages that are lent.
  bool lent = false;
  Bytes in_file = 0;       // memory that is on the disk instead
  Bytes file_growth = 0;   // lately
  int64_t over_ns = 0;     // for how long more has been in it than is left besides
  Bytes file_per_look = 0;
  Bytes file_left = 0;     // until --spill-limit or the disk ends it
};

struct Steps {
  bool lend = false;
  bool lend_empty = false;  // only what takes no copy: where it is early
  bool alarm = false;
  bool end = false;
  bool stand = false;      // still, until the one that is to act has acted
  bool file_is_full = false;  // why the end is due; else memory is
  Bytes line = 0;  // of the alarm or the end, for the record
};

inline constexpr Bytes kFilledMoves = 256 * 1024;    // less in the file is no growth
// What is in the file fits as long as it is not more than the headroom by this: pages on their way
// to the kernel's lists are charged and not yet called cache, and the file system keeps books of
// them.
inline constexpr Bytes kFits = -4 * kMiB;
// The counters of the group and of the file are read one after the other.
inline constexpr int64_t kOverNs = 10'000'000;
// What is let go of by an exception that was raised comes back within that.
inline constexpr int64_t kAtBottomNs = 10'000'000;
inline constexpr Bytes kLeastFileLeft = 8 * kMiB;

// Below it the next look may come too late.
constexpr Bytes end_line(const Situation& seen) {
  return 2 * kMiB + std::min(seen.counters_lag, seen.reserve / 4) +
         std::clamp<Bytes>(seen.per_look, 0, 48 * kMiB);
}
// Where pages are lent: early enough for one more look and an exception before the end line.
// Nothing is refused by lending, so that early costs little.
constexpr Bytes last_line(const Situation& seen) {
  return end_line(seen) + std::clamp<Bytes>(seen.per_look, 8 * kMiB, 64 * kMiB);
}
// The same where it grows so fast that a late look on a busy machine is the kernel's reason to
// kill. With next to nothing left afterwards what the file system takes for what is lent would be.
constexpr Bytes lending_line(const Situation& seen) {
  const Bytes late = std::clamp<Bytes>(seen.per_late_look - seen.per_look, 0, 96 * kMiB);
  return std::max(last_line(seen),
                  end_line(seen) + late + std::min(seen.per_delivery, 128 * kMiB));
}
// No line but those of the reserve lies further away.
inline constexpr Bytes kFarthestLine = 288 * kMiB;
// Where growth through the gate should have got its refusal.
constexpr Bytes gated_line(const Situation& seen) {
  return std::max<Bytes>(0, seen.small_line - kMiB);
}
// From here an exception is in time. Never before the reserve is touched.
constexpr Bytes delivery_line(const Situation& seen) {
  return std::min(end_line(seen) + seen.per_delivery, seen.reserve);
}
// Where no exception can come first, the end is what must be in time.
constexpr Bytes last_end_line(const Situation& seen) {
  return seen.raises ? end_line(seen) : std::max(end_line(seen), delivery_line(seen));
}
// Growth that requests announced is judged there, and what dips deep is small. In a program of C
// small requests are refused from half of the reserve on.
constexpr Bytes announced_end_line(const Situation& seen) {
  return std::min(end_line(seen), seen.reserve / 4);
}
// What was granted would still fit when it is filled, but something else grew beside it (pages that
// are copied after a fork): by then the next look may come too late, and what is not filled yet can
// be lent.
constexpr bool is_pressed(const Situation& seen) {
  return !seen.lent && seen.in_flight >= kMiB && seen.headroom < seen.reserve &&
         seen.headroom - seen.in_flight < end_line(seen);
}
// Where the exception is sent for growth that cannot be carried further: never before the reserve
// is touched, unless one look is worth more than that.
constexpr Bytes early_line(const Situation& seen) {
  const Bytes least = std::max({gated_line(seen), last_line(seen), delivery_line(seen)});
  return seen.filling ? std::max(least, seen.reserve / 2) : least;
}

// What is lent may come back where all that is in the file would fit and this much besides.
constexpr Bytes least_room(const Situation& seen) { return std::max(seen.reserve, 8 * kMiB); }
// It begins where there is more, so that nothing is lent again at once.
constexpr Bytes room_line(const Situation& seen, bool begun) {
  const Bytes least = least_room(seen);
  return begun ? std::max(least, lending_line(seen))
               : std::max(3 * least, lending_line(seen) + least);
}
inline constexpr int64_t kRoomNs = 1'000'000'000;  // how long there must be room before it begins

constexpr Steps steps_of_lent(const Situation& seen) {
  Steps steps;
  if (!seen.lent || seen.file_growth < kFilledMoves) return steps;
  // What is on the disk would not have fit.
  if (seen.over_ns >= kOverNs) steps = {.alarm = true, .line = seen.in_file + kFits};
  steps.end = steps.file_is_full = seen.file_left < kLeastFileLeft + 2 * seen.file_per_look;
  return steps;
}

constexpr Steps next_steps(const Situation& seen) {
  Steps steps = steps_of_lent(seen);
  if (steps.end) return steps;
  if (!seen.ours) {
    steps.stand = seen.growing && seen.headroom < end_line(seen);
    steps.line = steps.stand ? end_line(seen) : steps.line;
    return steps;
  }
  const auto alarm_below = [&](Bytes line) {
    if (seen.headroom >= line || steps.alarm) return;
    steps.alarm = true;
    steps.line = line;
  };
  if (!seen.filling && !seen.creeping) {
    alarm_below(gated_line(seen));
    // The end stays where it is: the exception needs pages, too, and its thread goes on copying
    // until then.
    if (seen.copying) alarm_below(std::min(early_line(seen), seen.reserve / 2));
    if (seen.headroom >= announced_end_line(seen)) {
      steps.lend = steps.lend_empty = seen.lendable && is_pressed(seen);
      return steps;
    }
    steps.lend = seen.lendable && seen.grew_since_lending;
    // No request got it there: threads and processes that together touch what nobody asks for.
    const bool is_late =
        seen.headroom < std::min(kDipLine, seen.per_look) && seen.unanswered_ns >= kAtBottomNs;
    const bool at_bottom = seen.growing && (seen.at_bottom_ns >= kAtBottomNs || is_late);
    steps.end = !steps.lend && (!seen.raises || at_bottom);
    if (steps.end) steps.line = seen.raises ? kDipLine : announced_end_line(seen);
    return steps;
  }
  if (!seen.lendable) {
    alarm_below(early_line(seen));
    if (seen.headroom >= last_end_line(seen)) return steps;
    steps.end = true;
    steps.line = last_end_line(seen);
    return steps;
  }
  steps.lend = seen.headroom < lending_line(seen) && seen.grew_since_lending;
  // It grows, and not into what was lent.
  if (seen.lent && seen.grew_since_lending) alarm_below((end_line(seen) + last_line(seen)) / 2);
  return steps;
}

}  // namespace oomguard::budget

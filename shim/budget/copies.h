// Growth that no counter of the process shows: a page that a fork shares is copied when it is
// written to, and the writer's resident memory stays what it was. Estimated as what it faulted in
// beyond its own growth, as far as the limit's usage grew by that. Plain state of one thread (the
// watchdog's).
#pragma once

#include <algorithm>

#include "shim/budget/lines.h"

namespace oomguard::budget {

class Copies {
 public:
  // `faulted`: bytes of all page faults so far; `own` and `needed` as in tide.h.
  constexpr void update(Bytes faulted, Bytes own, Bytes needed) {
    if (known_) {
      const Bytes grown = std::max<Bytes>(own - own_, 0);
      faults_ = std::max<Bytes>(faults_ + faulted - faulted_ - grown, 0);
      usage_ = std::max<Bytes>(usage_ + needed - needed_ - grown, -kCarried);
      const Bytes copied = std::max<Bytes>(std::min(faults_, usage_), 0);
      total_ += copied;
      // The kernel's counters lag: a little is carried over to the next look.
      faults_ = std::min(faults_ - copied, kCarried);
      usage_ = std::min(usage_ - copied, kCarried);
    }
    known_ = true;
    faulted_ = faulted;
    own_ = own;
    needed_ = needed;
  }
  constexpr Bytes total() const { return total_; }

 private:
  static constexpr Bytes kCarried = kMiB;

  bool known_ = false;
  Bytes faulted_ = 0;
  Bytes own_ = 0;
  Bytes needed_ = 0;
  Bytes faults_ = 0;
  Bytes usage_ = 0;
  Bytes total_ = 0;
};

}  // namespace oomguard::budget

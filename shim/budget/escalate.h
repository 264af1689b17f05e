// The watchdog's steps, taken: an exception, lending, the end of the process with its report. What
// is to be done is decided in escalation.h. One thread's state (the raw thread's). Callable from
// the raw thread: yes, and from nowhere else.
#pragma once

#include "shim/budget/escalation.h"
#include "shim/budget/look.h"
#include "shim/spill/lender.h"

namespace oomguard::budget {

class Escalation {
 public:
  // Before each look, because what is in the file counts in it.
  void look_at_file(Look* look) noexcept;
  // After each look; `changed`: it saw that something moved.
  void act(Look* look, bool changed) noexcept;

 private:
  Situation see(const Look& look) noexcept;
  bool may_lend(const Look& look) const noexcept;
  spill::Result lend(Look* look, bool only_empty) noexcept;
  bool tried_all(int64_t now_ns) const noexcept;
  void give_back(Look* look, const Situation& seen) noexcept;
  spill::Returned give_back_step(Look* look, int64_t stop_ns, int64_t stopped_ns) noexcept;
  bool make_room_in_file(Look* look, const Situation& seen) noexcept;
  void sound_alarm(Look* look, Bytes line) noexcept;
  bool must_end(const Look& look, const Steps& steps) const noexcept;
  bool room_comes_back(Look* look, Bytes line, int64_t wait_ns, Bytes least = -kNoLimit) noexcept;
  void stand(Look* look, Bytes line) noexcept;
  void end(Look* look, const Steps& steps, bool held) noexcept;
  void finish(Look* look, const Steps& steps, bool all_stand) noexcept;
  void write_end(Look* look, const Steps& steps) noexcept;
  void let_go_for_report() noexcept;

  int64_t lent_ns_ = 0;          // when lending was tried last
  int64_t barren_ns_ = 0;        // for how long not again for the blocks it knew; 0: it may help
  spill::Outcome barren_ = spill::Outcome::kLent;
  int64_t pressed_ns_ = 0;       // when only what is empty was tried last
  Bytes own_at_lending_ = 0;
  int64_t acts_until_ns_ = 0;    // lent, or stood for one that did nothing: acts itself
  Bytes copied_before_ = 0;      // pages after a fork, when the reserve was whole
  int64_t over_since_ns_ = 0;    // what is in the file would not have fit
  int64_t at_bottom_since_ns_ = 0;
  int64_t room_since_ns_ = 0;    // what is lent may come back
  int64_t back_at_ns_ = 0;       // the next step of that
  int64_t back_stop_ns_ = 0;     // how long it may take to stop the threads for it
  int64_t back_again_ns_ = 0;    // when it is tried again where nothing came back
  bool coming_back_ = false;
  int64_t raised_ns_ = 0;        // of the exception that stopped what grew before it
  Growth file_{Tide::kWindowNs};
};

}  // namespace oomguard::budget

#include "shim/budget/escalate.h"

#include <algorithm>
#include <iterator>

#include "collector/probe/process.h"
#include "shim/budget/group_table.h"
#include "shim/budget/ledger.h"
#include "shim/budget/refusal_record.h"
#include "shim/core/chores.h"
#include "shim/core/copy_text.h"
#include "shim/core/session.h"

namespace oomguard::budget {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr Bytes kCopyBudget = 64 * kMiB;
// A region of 2 MiB is in the file before its memory is given up: with less the copy itself called
// the OOM killer.
constexpr Bytes kLeastToCopy = 4 * kMiB;
// Where lending left nothing, or found nothing; twice as long each time.
constexpr int64_t kBarrenNs = 100 * kMs;
constexpr int64_t kMostBarrenNs = 1'600 * kMs;
constexpr int64_t kStopNs = 50 * kMs;
constexpr int64_t kStallNs = 200 * kMs;    // does room come back while all threads stand?
constexpr int64_t kChanceNs = 50 * kMs;    // for an exception to reach its thread, before the end
// How late a look may be meanwhile. It was later lately, but then the program's threads had no turn
// either.
constexpr int64_t kLateNs = 5 * kMs;
// The main thread waits for the interpreter's lock up to 5 ms, and some times while it looks for
// the thread that fills memory; then that thread waits for it.
constexpr int64_t kDeliveryNs = 30 * kMs;
// What the disk may take to forget pages (190 ms were seen), and what may begin to grow meanwhile.
constexpr int64_t kTendingNs = 1000 * kMs;
constexpr Bytes kRoomToTend = 128 * kMiB;
constexpr int64_t kStandNs = 400 * kMs;    // for the one that is to act: longer than its own stall
constexpr int64_t kMostStandNs = 1'200 * kMs;  // while one ends, or the next page is too much
constexpr int64_t kOwnTurnNs = 20 * kMs;
constexpr Bytes kRoomAgain = 8 * kMiB;     // beyond the line
constexpr Bytes kLeastLent = kMiB;
constexpr Bytes kLeastToLendInto = 2 * kLeastFileLeft;
// A step of giving back: about 5 ms with all threads stopped, at most a twentieth of the time.
constexpr Bytes kBackBytes = 8 * kMiB;
constexpr int64_t kBackStoppedNs = 5 * kMs;
constexpr int64_t kBackPauseNs = 20 * kMs;
constexpr int64_t kLeastStopNs = 10 * kMs;  // for threads to stop; twice as long where they do not
constexpr int64_t kMostStopNs = 40 * kMs;
constexpr int64_t kRescueStopNs = 200 * kMs;  // where the program would be ended instead
// Where nothing came back (threads do not stop, what is left is in use), and twice as long each
// time.
constexpr int64_t kBackAgainNs = 250 * kMs;
constexpr int64_t kMostAgainNs = 60'000 * kMs;
constexpr Bytes kRoomForReport = 4 * kMiB;
constexpr Bytes kSinksFast = 8 * kMiB;  // in the time that an exception takes
constexpr Bytes kCopied = 3 * kMiB;     // the estimate of a look is carried over by up to one
constexpr Bytes kRegrown = 256 * 1024;
constexpr Bytes kRegrownByOthers = 2 * kMiB;  // while all threads of this process stand

bool kills(const Look& look) {
  const probe::Level* level = probe::binding(look.judgement.reading, look.judgement.headroom);
  return level != nullptr && probe::is_shared(level->kind);
}

bool counts_address_space(const Look& look) {
  const probe::Level* level = probe::binding(look.judgement.reading, look.judgement.headroom);
  return level == nullptr || level->kind == probe::LimitKind::kRlimitAs ||
         level->kind == probe::LimitKind::kRlimitData;
}

// An exception can reach this program, or will be able to: an interpreter that starts is not ended
// early. One that ends is not ended for the pages that its traceback and its last frees take.
bool may_raise() {
  return gate.alarm.signal() != 0 || chores::awaits_interpreter() || gate.finishing();
}

const char* reason_of(spill::Outcome outcome) {
  switch (outcome) {
    case spill::Outcome::kNothing:
      return "what was being filled was not memory of malloc's that could be moved to a file";
    case spill::Outcome::kNotStopped: return "a thread of the program could not be stopped";
    case spill::Outcome::kAtCap: return "--spill-limit, or the free disk space, was used up";
    case spill::Outcome::kNoDisk:
    case spill::Outcome::kLent: break;
  }
  return "";
}

}  // namespace

void Escalation::look_at_file(Look* look) noexcept {
  spill::tend(look->headroom < std::max(kRoomToTend, look->tide.grown_in(kTendingNs)));
  const Bytes in_file = spill::active() ? spill::in_file() : 0;
  look::set_in_file(in_file);
  // What was filled before an exception was raised is no sign that it was swallowed, and a deep
  // stack takes memory to unwind: requests, which the gate judges.
  if (const int64_t raised_ns = gate.alarm.handled_ns(); raised_ns != raised_ns_) {
    raised_ns_ = raised_ns;
    file_ = Growth{Tide::kWindowNs};
    look->tide.restart(look->tide.own(), look->now_ns);
    copied_before_ = look->copies.total();
  }
  if (spill::active()) file_.update(in_file, look->now_ns);
}

// Everything that could be lent is, or nothing could be, and no block was made since.
bool Escalation::tried_all(int64_t now_ns) const noexcept {
  return now_ns < lent_ns_ + barren_ns_ && ledger.untouched_of_heap(lent_ns_) < kLeastLent;
}

bool Escalation::may_lend(const Look& look) const noexcept {
  return gate.values().overcommit == options::Overcommit::kLend &&
         gate.values().on_limit != options::OnLimit::kWarn && !counts_address_space(look) &&
         !tried_all(look.now_ns) && spill::obstacle()[0] == '\0' &&
         (!spill::active() || spill::left() >= kLeastToLendInto) &&
         ledger.untouched_of_heap() >= kLeastLent;
}

Situation Escalation::see(const Look& look) noexcept {
  Situation seen;
  seen.headroom = look.headroom;
  seen.reserve = gate.reserve();
  seen.small_line = gate.lines_now().small;
  seen.counters_lag = Bytes{gate.cpus()} * 256 * 1024;
  seen.per_look = look.per_look();
  seen.per_late_look = look.tide.grown_in(look.pause_ns + 2 * look.slip_ns);
  seen.per_delivery = look.tide.grown_in(kDeliveryNs);
  if (seen.headroom >= kOffBottom) at_bottom_since_ns_ = 0;
  else if (at_bottom_since_ns_ == 0 && seen.headroom < kBottomLine)
    at_bottom_since_ns_ = look.now_ns;
  seen.at_bottom_ns = at_bottom_since_ns_ != 0 ? look.now_ns - at_bottom_since_ns_ : 0;
  if (const int64_t sent_ns = gate.alarm.sent_ns(); sent_ns != 0)
    seen.unanswered_ns = look.now_ns - sent_ns;
  // Its last frees write to pages that a child holds as well, and it answers nothing any more.
  if (gate.finishing()) seen.unanswered_ns = kAtBottomNs;
  if (seen.headroom >= seen.reserve) copied_before_ = look.copies.total();
  seen.lent = spill::active();
  if (seen.lent) {
    seen.in_file = spill::in_file();
    seen.file_growth = file_.recent();
    seen.file_per_look =
        file_.recent() / (Tide::kWindowNs / kMs) * (look.pause_ns + look.slip_ns) / kMs;
    seen.file_left = spill::left();
    if (seen.file_left < kLeastToLendInto) barren_ = spill::Outcome::kAtCap;
    if (seen.headroom - seen.in_file >= kFits) over_since_ns_ = 0;
    else if (over_since_ns_ == 0) over_since_ns_ = look.now_ns;
    seen.over_ns = over_since_ns_ != 0 ? look.now_ns - over_since_ns_ : 0;
  }
  // What follows costs something, and far from the limit nothing depends on it.
  if (look.headroom >= seen.reserve + kFarthestLine) return seen;
  const GroupTable::Others others = group_table.others(look.now_ns, 0);
  seen.per_look += others.pace * (look.pause_ns + look.slip_ns) / kMs;
  if (look.headroom >= seen.reserve + std::max(early_line(seen), lending_line(seen))) return seen;
  seen.growing = look.tide.grows();
  seen.ours = (look.tide.ours(others.growth) && look.tide.recent() >= others.largest_growth) ||
              (seen.growing && look.now_ns < acts_until_ns_);
  // It stalls for as long as what it grew by is remembered, and then this process, which grows by a
  // page now and then, would seem to be the one.
  if (others.ends) seen.ours = false;
  seen.raises = may_raise();
  // Blocks that are lent stand in the ledger as before, and need nothing.
  const Bytes in_flight = seen.lent ? 0 : ledger.in_flight(0, look.now_ns, look::pages());
  seen.filling = look.tide.filling() || in_flight > look.headroom;
  if (look.now_ns - pressed_ns_ >= kBarrenNs) seen.in_flight = in_flight;
  // Not above half of the reserve: a program that fills what it was granted just above the line may
  // come to stand a little under it. And only what is fast: a slow exception needs pages, too.
  const bool sinking =
      look.tide.sinking() && seen.per_delivery >= kSinksFast && !gate.granted_over_line();
  seen.creeping = look.tide.creeping() || (look.headroom < seen.reserve / 2 && sinking);
  // Whatever is granted meanwhile. What the copier unmaps beside it stays with its child, and hides
  // the copies in what it grew by.
  seen.copying = look.copies.total() - copied_before_ >= kCopied && seen.per_delivery >= kSinksFast;
  seen.lendable = may_lend(look);
  // What it lets go of meanwhile may stay with its child.
  own_at_lending_ = std::min(own_at_lending_, look.tide.own());
  seen.grew_since_lending = look.tide.own() > own_at_lending_ + kRegrown;
  return seen;
}

void Escalation::act(Look* look, bool changed) noexcept {
  if (!changed && !spill::active()) return;
  Situation seen = see(*look);
  if (look->headroom > seen.reserve) own_at_lending_ = 0;
  Steps steps = next_steps(seen);
  bool held = false;
  if (steps.lend) {
    const spill::Result result = lend(look, steps.lend_empty);
    if (result.outcome == spill::Outcome::kLent) return;
    if (steps.lend_empty) seen.in_flight = 0;
    else seen.lendable = false;
    steps = next_steps(seen);
    // Between two stops the threads would fill what is left.
    held = result.held && steps.end && !steps.file_is_full;
    if (result.held && !held) spill::resume_all();
  }
  if (steps.file_is_full && make_room_in_file(look, seen)) return;
  if (steps.alarm) sound_alarm(look, steps.line);
  if (steps.end) end(look, steps, held);
  if (steps.stand) stand(look, steps.line);
  if (seen.lent && !steps.alarm) give_back(look, seen);
}

spill::Result Escalation::lend(Look* look, bool only_empty) noexcept {
  coming_back_ = false;
  room_since_ns_ = 0;
  const bool copies = !only_empty && look->headroom >= kLeastToCopy;
  const spill::Result result = spill::lend(copies ? kCopyBudget : 0, true);
  const bool lent = result.outcome == spill::Outcome::kLent;
  if (only_empty) pressed_ns_ = look->now_ns;
  if (only_empty && !lent) return result;
  barren_ = result.outcome;
  // Everything that is left is lent: as good as nothing found.
  barren_ns_ = !lent || result.all ? std::clamp(2 * barren_ns_, kBarrenNs, kMostBarrenNs) : 0;
  lent_ns_ = sys::monotonic_ns();
  if (!lent) return result;
  own_at_lending_ = look::eyes().own_memory() + gate.file_growth() + look->copies.total();
  look->now_ns = sys::monotonic_ns();
  // The one that grew most: what it grew by is settled now, and would not tell any more.
  acts_until_ns_ = look->now_ns + Tide::kWindowNs;
  look->tide.restart(own_at_lending_, look->now_ns);
  return result;
}

// There is room again: what is lent comes back, a little at a time.
void Escalation::give_back(Look* look, const Situation& seen) noexcept {
  const Bytes room = seen.headroom - seen.in_file;
  if (gate.incident.open() || room < room_line(seen, coming_back_) ||
      room < look->tide.grown_in(kTendingNs)) {
    coming_back_ = false;
    room_since_ns_ = 0;
    return;
  }
  if (room_since_ns_ == 0) room_since_ns_ = look->now_ns;
  if (!coming_back_ && look->now_ns - room_since_ns_ < kRoomNs) return;
  if (!coming_back_) {
    back_stop_ns_ = kLeastStopNs;
    back_again_ns_ = kBackAgainNs;
  }
  coming_back_ = true;
  if (look->now_ns >= back_at_ns_) give_back_step(look, back_stop_ns_, kBackStoppedNs);
  look->pause_ns = std::clamp<int64_t>(back_at_ns_ - look->now_ns, kMs, look->pause_ns);
}

spill::Returned Escalation::give_back_step(Look* look, int64_t stop_ns,
                                           int64_t stopped_ns) noexcept {
  const spill::Returned back = spill::give_back({kBackBytes, stop_ns, stopped_ns});
  barren_ns_ = 0;  // what came back may be lent again
  look::set_in_file(spill::in_file());
  look->returned += back.copied;
  look->now_ns = sys::monotonic_ns();
  back_stop_ns_ = back.stopped ? kLeastStopNs : std::min(2 * back_stop_ns_, kMostStopNs);
  if (back.moved()) {
    back_at_ns_ = look->now_ns + std::max(kBackPauseNs, 20 * back.stopped_ns);
    back_again_ns_ = kBackAgainNs;
  } else {
    back_at_ns_ = look->now_ns + back_again_ns_;
    back_again_ns_ = std::min(2 * back_again_ns_, kMostAgainNs);
  }
  return back;
}

// The file takes no more, and memory does: what is lent and was not filled yet is memory again from
// here on, and what was filled follows.
bool Escalation::make_room_in_file(Look* look, const Situation& seen) noexcept {
  if (seen.headroom - seen.in_file < least_room(seen)) return false;
  const spill::Returned back = give_back_step(look, kRescueStopNs, kStopNs);
  coming_back_ = true;
  if (!back.moved()) return !back.stopped && spill::left() > 0;  // tried again with the next look
  file_ = Growth{Tide::kWindowNs};
  return true;
}

void Escalation::sound_alarm(Look* look, Bytes line) noexcept {
  const options::OnLimit on_limit = gate.values().on_limit;
  const bool raises = on_limit == options::OnLimit::kRaise;
  if (raises ? !gate.alarm.ready(look->now_ns) : gate.incident.open()) return;
  Judgement& judgement = look->judgement;
  judgement.source = &look::eyes();
  judgement.pages = &look::pages();
  judgement.line = line;
  judgement.pending = 0;
  judgement.in_flight = ledger.in_flight(0, look->now_ns, look::pages());
  int32_t grower = ledger.most_active_thread(look->now_ns);
  if (grower == 0) grower = gate.last_spender();
  const uint64_t id = gate.incident.refused(look->now_ns, raises);
  const auto outcome = raises                                ? record::Outcome::kException
                       : on_limit == options::OnLimit::kWarn ? record::Outcome::kReported
                                                             : record::Outcome::kRefused;
  const Refusal refusal{record::RequestKind::kTouch, outcome,
                        look->tide.recent(), 0, grower, id, &judgement};
  const uint64_t number = write_refusal(refusal, look->now_ns);
  if (on_limit == options::OnLimit::kExit) session::exit_at_limit(true);
  if (raises) gate.alarm.send(number, grower, look->now_ns);
}

// False: it is slow and no kill yet, or an exception is on its way.
bool Escalation::must_end(const Look& look, const Steps& steps) const noexcept {
  if (!kills(look) || gate.values().on_limit == options::OnLimit::kWarn) return false;
  if (!steps.file_is_full && look::headroom_with_text(look) >= steps.line) return false;
  const int64_t alarm_ns = std::max(gate.alarm.sent_ns(), gate.alarm.handled_ns());
  const Bytes until_next = std::min(look.per_look(), look.tide.grown_in(kLateNs));
  return look.now_ns - alarm_ns >= kChanceNs || look.headroom <= 2 * kMiB + until_next;
}

// False at once where less than `least` is left: others go on.
bool Escalation::room_comes_back(Look* look, Bytes line, int64_t wait_ns, Bytes least) noexcept {
  for (const int64_t until_ns = look->now_ns + wait_ns; look->now_ns < until_ns;) {
    const timespec pause{0, 2 * kMs};
    sys::call(SYS_nanosleep, sys::as_arg(&pause), 0);
    look->now_ns = sys::monotonic_ns();
    bool changed = false;
    if (!look::take(look, &changed)) continue;
    if (look->headroom > line + kRoomAgain) return true;
    if (look->headroom < least) return false;
  }
  return false;
}

// Another process grows more, and ends or raises. What this one grows by meanwhile would be the
// kernel's reason to kill.
void Escalation::stand(Look* look, Bytes line) noexcept {
  if (!kills(*look) || gate.values().on_limit == options::OnLimit::kWarn) return;
  if (look::headroom_with_text(*look) >= line) return;
  GroupTable::Slot* slot = group_table.own();
  const int64_t since_ns = look->now_ns;
  const Bytes grown = look->tide.recent();
  if (slot != nullptr) slot->stands_ns.store(since_ns, std::memory_order_relaxed);
  const bool all_stand = spill::stop_all(kStopNs);
  look->standing = true;
  bool room = false;
  for (bool waits = true; waits && !room;) {
    room = room_comes_back(look, line, kLateNs);
    const GroupTable::Others others = group_table.others(look->now_ns, 0);
    const int64_t stood_ns = look->now_ns - since_ns;
    // Where each stands for another one, the first of them acts.
    const bool own_turn = !others.goes_on && !others.stands_before && stood_ns >= kOwnTurnNs;
    const bool late = stood_ns >= (look->headroom < look::kRoomToOpen ? kMostStandNs : kStandNs);
    waits = others.ends ? stood_ns < kMostStandNs : !own_turn && !late;
  }
  look->standing = false;
  if (slot != nullptr) slot->stands_ns.store(0, std::memory_order_relaxed);
  // Its threads would go on with what they were filling, and no exception can stop them.
  const bool ends = !room && !may_raise() && grown >= kMiB &&
                    look->headroom < std::min(line, gate.reserve() / 4) &&
                    !group_table.others(look->now_ns, 0).ends;
  if (ends) finish(look, {.line = line}, all_stand);
  spill::resume_all();
  if (!room) acts_until_ns_ = look->now_ns + kStandNs;
}

// Nothing else is left: the next pages would be the kernel's reason to kill.
void Escalation::end(Look* look, const Steps& steps, bool held) noexcept {
  if (!must_end(*look, steps)) {
    if (held) spill::resume_all();
    return;
  }
  // One is enough, mostly.
  if (!held && group_table.others(look->now_ns, 0).ends) return stand(look, steps.line);
  GroupTable::Slot* slot = group_table.own();
  if (slot != nullptr) slot->ends_ns.store(look->now_ns, std::memory_order_relaxed);
  const bool all_stand = held || spill::stop_all(kStopNs);
  const Bytes least = look->headroom - kRegrownByOthers;
  if (!steps.file_is_full && all_stand && room_comes_back(look, steps.line, kStallNs, least)) {
    if (slot != nullptr) slot->ends_ns.store(0, std::memory_order_relaxed);
    spill::resume_all();
    return;
  }
  finish(look, steps, all_stand);
}

void Escalation::finish(Look* look, const Steps& steps, bool all_stand) noexcept {
  if (GroupTable::Slot* slot = group_table.own(); slot != nullptr) {
    slot->ends_ns.store(look->now_ns, std::memory_order_relaxed);
  }
  if (all_stand) let_go_for_report();
  write_end(look, steps);
  session::exit_with_report(true);
}

// Writing the report takes pages of the kernel's. Nobody will read what this program held: its
// threads stand, and none of them runs again.
void Escalation::let_go_for_report() noexcept {
  Block blocks[4];
  const size_t count = ledger.largest(blocks, std::size(blocks));
  Bytes left = kRoomForReport;
  for (size_t i = 0; i < count && left > 0; ++i) {
    const uintptr_t page = static_cast<uintptr_t>(probe::page_size());
    const uintptr_t begin = (blocks[i].address + page - 1) / page * page;
    const Bytes size =
        std::min(blocks[i].size_bytes - static_cast<Bytes>(page), 2 * kRoomForReport);
    const Bytes before = look::eyes().own_memory();
    sys::call(SYS_madvise, begin, size, 4 /*MADV_DONTNEED*/);
    left -= std::max<Bytes>(0, before - look::eyes().own_memory());
  }
}

void Escalation::write_end(Look* look, const Steps& steps) noexcept {
  Judgement& judgement = look->judgement;
  judgement.source = &look::eyes();
  judgement.pages = nullptr;
  judgement.line = steps.line;
  judgement.pending = judgement.in_flight = 0;
  const char* reason = reason_of(steps.file_is_full ? spill::Outcome::kAtCap : barren_);
  if (reason[0] == '\0') reason = spill::obstacle();
  if (gate.values().overcommit == options::Overcommit::kRefuse) reason = "--overcommit refuse";
  record::FlightHeader& header = session::file()->header;
  copy_text(header.ended_because, sizeof header.ended_because, reason);
  const uint64_t id = gate.incident.refused(look->now_ns, true);
  int32_t grower = ledger.most_active_thread(look->now_ns);
  write_refusal({record::RequestKind::kTouch, record::Outcome::kEnded, look->tide.recent(), 0,
                 grower != 0 ? grower : gate.last_spender(), id, &judgement},
                look->now_ns);
}

}  // namespace oomguard::budget

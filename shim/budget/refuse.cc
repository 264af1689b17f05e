// What the gate does with a request that meets its line: relief, then a refusal, where that is
// handled.
#include <algorithm>

#include "shim/budget/behind.h"
#include "shim/budget/gate.h"
#include "shim/budget/group_table.h"
#include "shim/budget/refusal_record.h"
#include "shim/budget/relief.h"
#include "shim/budget/watchdog.h"
#include "shim/core/session.h"

namespace oomguard::budget {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr int64_t kNoArenaNs = 1'000'000;
// --on-limit warn past the limit: not a look at the limits for every request.
constexpr Bytes kWarnedCredit = kMiB;
// Small refusals of one incident that a program may handle itself: a library's retries, a search.
constexpr uint32_t kFlood = 64;
// The same for one large request after the other: nobody who handles them goes on for so long.
constexpr uint32_t kLargeFlood = 4096;
// Who asks for the same again after longer than this waits for room.
constexpr int64_t kInARowNs = 10'000'000;

}  // namespace

// What must stay beside a small request. A program of C gets NULL early enough to live on with it.
// A library in a Python process, which may not expect it, only where the kernel would be next: not
// at the last page, because what threads touch besides (stacks, page tables) is asked for by
// nobody. C++ throws, which few programs catch.
Bytes Gate::kept_from(Caller caller) const noexcept {
  if (privilege_.load(kRelaxed) > 0 || caller == Caller::kCxxRuntime) return kDipLine;
  const Bytes small = lines_now().small;
  return std::max(kDipLine, only_c_ && caller == Caller::kOther ? small : small / 2);
}

// Granted and filled it is the kernel's reason to kill, before the watchdog can do anything: so it
// is refused to callers that mostly handle NULL only where it is large, too. Nobody is killed for a
// budget of one's own.
bool Gate::is_more_than_all(const Request& request, Caller caller,
                            const Judgement& judgement) const noexcept {
  const probe::Level* level = probe::binding(judgement.reading, judgement.headroom);
  if (level == nullptr || !probe::is_shared(level->kind)) return false;
  // What others ask for may be refused to them, and what they got they may leave unfilled: that is
  // not held against a small request.
  const Bytes being_filled = request.size > kMiB ? judgement.in_flight : 0;
  const Bytes room = judgement.headroom.bytes + level->text_held;
  return request.size + being_filled + kept_from(caller) > room;
}

// The request meets its line. Refused only where that is handled, and not before everything that
// could come back did.
bool Gate::over_line(const Request& request, int64_t now_ns, Bytes* held,
                     Judgement* judgement) noexcept {
  const Caller caller = request.arena ? Caller::kInterpreter
                                      : behind(classify(request.caller), request.caller);
  if (request.size < refusable_from(caller) && !is_answered_by_error(request.kind)) {
    const Bytes small_line = lines_now().small;
    if (never_refused(caller) && request.size + small_line > judgement->headroom.bytes) {
      if (values_.on_limit == options::OnLimit::kWarn) return refuse(request, now_ns, *judgement);
      owe_exception(request, now_ns, *judgement);
    }
    if (never_refused(caller) || !is_more_than_all(request, caller, *judgement)) return true;
  }
  if (request.arena) {
    no_arena_until_ns_.store(now_ns + kNoArenaNs, kRelaxed);
    return false;
  }
  // What follows may take long: meanwhile the request stands in nobody's way.
  release(*held);
  *held = 0;
  if (may_fit_after_relief(request, now_ns, *judgement)) {
    const Bytes before = hold(request.size);
    *held = request.size;
    if (fits_now(request, program_now_ns(), before, judgement)) return announce(request.size);
    release(*held);
    *held = 0;
  }
  return refuse(request, now_ns, *judgement);
}

// Gets a fresh answer of neighbours that are filling memory, and caches of the allocator back.
// True: one of the two was tried.
bool Gate::may_fit_after_relief(const Request& request, int64_t now_ns,
                                const Judgement& judgement) noexcept {
  const Bytes shortfall = request.size + judgement.line + judgement.in_flight + judgement.pending -
                          judgement.headroom.bytes;
  const bool ask_others = judgement.neighbours > 0 && judgement.neighbours >= shortfall;
  if (ask_others) group_table.refresh_others(now_ns);  // what they published may be a tick old
  const bool claimed =
      !is_called_by_handlers(request.kind) && (incident.claim_relief() || relief::affordable());
  const bool trimmed = claimed && relief::release(shortfall, is_of_heap(request.kind));
  return ask_others || trimmed;
}

bool Gate::refuse(const Request& request, int64_t now_ns, const Judgement& judgement) noexcept {
  const bool only_warn = values_.on_limit == options::OnLimit::kWarn;
  const bool recorded = only_warn && incident.open();  // one record each, then out of the way
  const uint64_t id = incident.refused(now_ns, !only_warn);
  if (only_warn) grant_credit(kWarnedCredit);
  if (recorded) return true;
  const auto outcome = only_warn ? record::Outcome::kReported : record::Outcome::kRefused;
  const uint64_t number = write_refusal(
      {request.kind, outcome, request.size, request.caller, current_thread_id(), id, &judgement},
      now_ns);
  if (values_.on_limit == options::OnLimit::kExit) session::exit_at_limit();
  if (only_warn) watchdog::wake();  // shows it
  if (!only_warn && is_flood(request, id, now_ns, judgement)) insist(number, now_ns);
  return only_warn;
}

// A loop that swallows one refusal after the other goes on for ever, and may end without a trace.
// Of large requests only the same one in a row is such a loop (a list that cannot grow); others
// look for what fits, and what is more than the limit itself is a question that may be asked any
// number of times.
bool Gate::is_flood(const Request& request, uint64_t incident_id, int64_t now_ns,
                    const Judgement& judgement) noexcept {
  const bool same = last_refused_.exchange(request.size, kRelaxed) == request.size;
  const bool in_a_row = now_ns - last_refused_ns_.exchange(now_ns, kRelaxed) < kInARowNs;
  const probe::Level* level = probe::binding(judgement.reading, judgement.headroom);
  const bool may_fit = level != nullptr && request.size < level->limit;
  const uint32_t in_row = same && in_a_row && may_fit ? in_a_row_.fetch_add(1, kRelaxed) + 1 : 0;
  if (in_row == 0) in_a_row_.store(0, kRelaxed);
  if (in_row >= kLargeFlood) return true;
  if (!judgement.small) return false;
  if (flood_incident_.exchange(incident_id, kRelaxed) != incident_id) flood_.store(0, kRelaxed);
  return flood_.fetch_add(1, kRelaxed) + 1 >= kFlood;
}

// After a while the main thread gets what `except Exception` does not catch.
void Gate::insist(uint64_t number, int64_t now_ns) noexcept {
  if (!alarm.ready(now_ns)) return;
  flood_.store(0, kRelaxed);
  in_a_row_.store(0, kRelaxed);
  alarm.send(number, current_thread_id(), now_ns);
}

void Gate::owe_exception(const Request& request, int64_t now_ns,
                         const Judgement& judgement) noexcept {
  if (values_.on_limit != options::OnLimit::kRaise || !alarm.ready(now_ns)) return;
  const uint64_t id = incident.refused(now_ns, true);
  const int32_t self = current_thread_id();
  const uint64_t number = write_refusal({request.kind, record::Outcome::kException, request.size,
                                         request.caller, self, id, &judgement},
                                        now_ns);
  alarm.send(number, self, now_ns);
}

}  // namespace oomguard::budget

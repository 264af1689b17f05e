#include "shim/budget/gate.h"

#include <errno.h>
#include <time.h>

#include <algorithm>

#include "shim/budget/group_table.h"
#include "shim/budget/ledger.h"
#include "shim/budget/relief.h"
#include "shim/budget/tree.h"
#include "shim/core/chores.h"
#include "shim/spill/lender.h"
#include "shim/trace/sampler.h"

namespace oomguard::budget {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
// Larger than any machine, small enough that sums of a few never overflow.
constexpr Bytes kHuge = Bytes{1} << 60;
constexpr Bytes kShownToOthers = 64 * 1024;  // smaller requests are nobody else's business
// Where nothing can be read (no /proc in a jail): trying again for each request is what costs.
constexpr Bytes kUnknownCredit = kMiB;
// A request that stands in `pending_` longer than this was left by a longjmp out of a handler.
constexpr int64_t kLostPendingNs = 5'000'000'000;

uint32_t online_cpus() noexcept {
  unsigned long mask[128] = {};
  const long bytes = sys::call(SYS_sched_getaffinity, 0, sizeof mask, sys::as_arg(mask));
  uint32_t count = 0;
  for (long i = 0; i < bytes / static_cast<long>(sizeof mask[0]); ++i) {
    count += static_cast<uint32_t>(__builtin_popcountl(mask[i]));
  }
  return count > 0 ? count : 1;
}

Bytes binding_limit(const probe::Reading& reading, const probe::Headroom& headroom) {
  const probe::Level* level = probe::binding(reading, headroom);
  return level != nullptr ? level->limit : kNoLimit;
}

// What a share comes to is known here first. 0: there is none, or it is enough.
Bytes unusable_budget(const probe::Reading& reading) {
  for (uint32_t i = 0; i < reading.level_count; ++i) {
    const probe::Level& level = reading.levels[i];
    if (level.kind == probe::LimitKind::kBudget && level.limit < options::kLeastBudget)
      return level.limit;
  }
  return 0;
}

// This thread asks for the next block: what it has not begun to fill of the last ones is not being
// filled.
void pass_over(int32_t self, int64_t now_ns) noexcept {
  if (thread_state.pass_over_ns == 0 || now_ns < thread_state.pass_over_ns) return;
  const bool again = ledger.pass_over(self, now_ns);
  thread_state.pass_over_ns = again ? now_ns + Ledger::kPassedOverNs : 0;
}

}  // namespace

constinit Gate gate;

int64_t program_now_ns() noexcept {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

probe::Config Gate::probe_config() const noexcept {
  probe::Config config;
  if (values_.budget_bytes >= 0) config.budget.bytes = values_.budget_bytes;
  config.budget.share_permille = values_.budget_share_permille;
  config.changing_budget = &budget_;
  return config;
}

void Gate::set_budget(Bytes bytes) noexcept {
  budget_.store(bytes);
  cached_.outdate();
  drop_credit();
}

uint64_t Gate::budget_key() const noexcept {
  return static_cast<uint64_t>(values_.budget_bytes) << 10 ^ values_.budget_share_permille;
}

void Gate::open_probes() noexcept {
  if (!probe.open(probe_config())) count_fault();
  if (!residency.open()) count_fault();
}

Gate::Start Gate::start() noexcept {
  cpus_ = online_cpus();
  open_probes();
  Start result;
  probe::Reading reading;
  probe::Headroom headroom;
  bool known = look(probe::Depth::kFull, program_now_ns(), &reading, &headroom);
  result.refused_budget = known ? unusable_budget(reading) : 0;
  if (result.refused_budget != 0) {
    values_.budget_share_permille = 0;
    open_probes();
    known = look(probe::Depth::kFull, program_now_ns(), &reading, &headroom);
  }
  if (const probe::Level* level = known ? probe::binding(reading, headroom) : nullptr) {
    result.limit = level->limit;
    result.limit_path = probe.level_path(level->path_index);
  }
  const Bytes reserve =
      values_.reserve_bytes >= 0 ? values_.reserve_bytes : computed_reserve(result.limit, cpus_);
  reserve_.store(std::min(reserve, result.limit / 2),
                 kRelaxed);  // one that takes all would stop the start
  cached_.forget();  // an answer that knew of no reserve
  return result;
}

void Gate::on_fork_child() noexcept {
  descriptors_.store(Descriptors::kParents, kRelaxed);
  pending_.store(0, kRelaxed);
  cached_.forget();
  threads_.store(1, kRelaxed);
  alarm.on_fork_child();
  finishing_.store(false, kRelaxed);
}

// False while another thread of the child is at it.
bool Gate::reopen_in_child() noexcept {
  Descriptors inherited = Descriptors::kParents;
  if (descriptors_.compare_exchange_strong(inherited, Descriptors::kOpening)) {
    open_probes();
    tree::join(probe);
    descriptors_.store(Descriptors::kOwn, std::memory_order_release);
  }
  return descriptors_.load(std::memory_order_acquire) == Descriptors::kOwn;
}

void Gate::adopt_limits(const probe::Probe& fresh) noexcept {
  if (!probe.adopt_limits(fresh)) moved_.store(true, kRelaxed);
}

bool Gate::look_through(probe::Probe& eyes, const probe::Residency& pages, probe::Depth depth,
                        int64_t now_ns, probe::Reading* reading,
                        probe::Headroom* headroom) noexcept {
  const Bytes spent = cached_.spent();
  if (!eyes.read(depth, reading)) {
    count_fault();
    return false;
  }
  for (uint32_t i = 0; i < reading->level_count; ++i) {
    if (reading->levels[i].kind == probe::LimitKind::kMachine) {
      reading->levels[i].limit -= machine_line_.load(kRelaxed);
    }
  }
  *headroom = probe::headroom(*reading, values_.swap_share_permille);
  if (headroom->bytes > kHuge) headroom->bytes = kHuge;
  if (headroom->bytes < 2 * reserve()) relief::want();
  if (const probe::Level* level = probe::binding(*reading, *headroom)) {
    const Bytes needed = level->usage - level->reclaimable;
    notice.look_at_load(needed, level->limit, now_ns);
    if (depth == probe::Depth::kFull) {  // else all of the file cache counts as needed
      notice.look(needed, level->limit, headroom->bytes, reserve(), now_ns);
    }
  }
  const Bytes in_flight = ledger.in_flight_bound(0, now_ns) + pending_.load(kRelaxed);
  const Bytes left = headroom->bytes - lines_now().large;
  // Where skeletons make the bound useless, only what is active counts.
  const Bytes busy = in_flight < left / 4
                         ? in_flight
                         : ledger.in_flight(0, now_ns, pages) + pending_.load(kRelaxed);
  const Bytes room = (left - busy) / 2;
  const bool cheap_only_says_less = depth == probe::Depth::kCheap && room <= 0;
  cached_.set(spent, room, cheap_only_says_less ? 0 : now_ns + reading_valid_ns(room, cpus_));
  // A cheap answer errs to the safe side. What is on the disk instead is no room.
  incident.look(now_ns, headroom->bytes - spill::in_file() >= reserve());
  return true;
}

bool Gate::fits_cached(const Request& request, int64_t now_ns, Bytes pending) noexcept {
  if (!cached_.valid(now_ns)) return false;
  const Bytes room = cached_.room() - pending;
  if (request.size > room / 16) return false;  // a large share is decided with what is in flight
  const Bytes credit = credit_slice(room, threads_.load(kRelaxed));
  if (!cached_.take(request.size + credit)) return false;
  grant_credit(credit);
  return true;
}

bool Gate::has_plenty_for(Bytes size) const noexcept {
  return cached_.valid(program_now_ns()) && size <= cached_.room();
}

void Gate::grant_credit(Bytes credit) noexcept {
  credit = std::clamp<Bytes>(credit, 0, chores::credit_limit());
  thread_state.credit = static_cast<uint64_t>(credit);
  granted_.fetch_add(credit, kRelaxed);
}

bool Gate::fits_now(const Request& request, int64_t now_ns, Bytes pending,
                    Judgement* out) noexcept {
  const int32_t self = current_thread_id();
  GroupTable::Others others = group_table.others(now_ns, 0);
  const Bytes bound = ledger.in_flight_bound(self, now_ns);
  out->source = &probe;
  out->pages = &residency;
  for (const probe::Depth depth : {probe::Depth::kCheap, probe::Depth::kFull}) {
    if (!look(depth, now_ns, &out->reading, &out->headroom)) {
      grant_credit(kUnknownCredit);
      return true;
    }
    const Bytes headroom = out->headroom.bytes;
    const Lines now_lines = lines_now();
    out->small = request.arena || request.size < large_threshold(headroom) ||
                 ((incident.grace() || privilege_.load(kRelaxed) > 0) &&
                  request.size <= kSmallInGrace);
    out->line = out->small ? now_lines.small : now_lines.large;
    if (request.kind == record::RequestKind::kFileWrite)
      out->line = std::max(out->line, reserve() / 8);
    // What a neighbour is about to fill is not a small request's to answer for.
    if (out->small) others.pending = others.in_flight = 0;
    out->neighbours = others.pending + others.in_flight;
    out->pending = pending + others.pending;
    out->in_flight = bound + others.in_flight;
    if (depth == probe::Depth::kFull &&
        request.size + out->line + out->pending + out->in_flight > headroom) {
      out->in_flight = ledger.in_flight(self, now_ns, residency) + others.in_flight;
    }
    if (values_.overcommit == options::Overcommit::kRefuse && !out->small) {
      out->in_flight = ledger.untouched(now_ns, residency) + others.in_flight;
    }
    if (request.kind == record::RequestKind::kFork) {
      out->small = true;
      out->line = std::max(now_lines.small, reserve() / (incident.grace() ? 4 : 2));
      // What others ask for may be refused to them, and what they got they may leave unfilled.
      out->neighbours = out->pending = out->in_flight = 0;
    }
    const Bytes room = headroom - request.size - out->line - out->pending - out->in_flight;
    if (room < 0 && depth == probe::Depth::kFull && out->small) {
      const Bytes taken = dip(request, headroom, now_ns);
      if (taken >= 0) {
        cached_.spend(taken);
        grant_credit(taken - request.size);
        return true;
      }
    }
    if (room >= 0) {
      cached_.spend(request.size);
      grant_credit(credit_slice(room, threads_.load(kRelaxed)));
      return true;
    }
  }
  if (!request.arena) grant_credit(0);
  return false;
}

// Below the small line (see dip.h): what may be taken there for this request, -1 where nothing.
Bytes Gate::dip(const Request& request, Bytes headroom, int64_t now_ns) noexcept {
  // Only some of the writes to a file in memory are looked at, so that each stands for others.
  if (request.kind == record::RequestKind::kFileWrite) return -1;
  if (request.arena || headroom - request.size < kDipLine) return -1;
  if (privilege_.load(kRelaxed) > 0) return request.size <= kSmallInGrace ? request.size : -1;
  return thread_state.dip.take(request.size, now_ns);
}

void Gate::reserve_for_shell() noexcept {
  if (values_.reserve_bytes >= 0 || shell_.exchange(true)) return;
  probe::Reading reading;
  probe::Headroom headroom;
  if (!look(probe::Depth::kFull, program_now_ns(), &reading, &headroom)) return;
  reserve_.fetch_add(shell_share(binding_limit(reading, headroom)), kRelaxed);
}

// CPython's small-object allocator maps its arenas in these sizes. It answers a refusal itself: the
// single object is asked for next. So an arena is held to the small line, opens no share of the
// reserve (no exception exists yet), and is refused again without a look for a moment.
bool Gate::is_arena(const Request& request) noexcept {
  return request.kind == record::RequestKind::kMmap &&
         (request.size == kMiB || request.size == 256 * 1024) &&
         classify(request.caller) == Caller::kInterpreter;
}

bool Gate::decide(Request request, int64_t now_ns, Bytes* held) noexcept {
  const Bytes before = hold(request.size);
  *held = request.size;
  if (fits_cached(request, now_ns, before)) return announce(request.size);
  request.arena = is_arena(request);
  if (request.arena && now_ns < no_arena_until_ns_.load(kRelaxed)) return false;
  decided_ns_.store(now_ns, kRelaxed);
  Judgement judgement;
  if (fits_now(request, now_ns, before, &judgement)) return announce(request.size);
  return over_line(request, now_ns, held, &judgement);
}

bool Gate::announce(Bytes size) noexcept {
  granted_.fetch_add(size, kRelaxed);
  return true;
}

// Who came before is returned, so that of two requests that cannot both have it one gets the bytes.
Bytes Gate::hold(Bytes size) noexcept {
  GroupTable::Slot* slot = size >= kShownToOthers ? group_table.own() : nullptr;
  if (slot != nullptr) slot->pending.fetch_add(size, std::memory_order_acq_rel);
  return pending_.fetch_add(size, std::memory_order_acq_rel);
}

void Gate::release(Bytes size) noexcept {
  const auto subtract = [size](std::atomic<Bytes>& sum) {
    Bytes before = sum.load(kRelaxed);
    // Never below 0: forget_lost_pending may have been here.
    while (!sum.compare_exchange_weak(before, before > size ? before - size : 0,
                                      std::memory_order_acq_rel)) {
    }
  };
  subtract(pending_);
  GroupTable::Slot* slot = size >= kShownToOthers ? group_table.own() : nullptr;
  if (slot != nullptr) subtract(slot->pending);
}

void Gate::forget_lost_pending(int64_t now_ns) noexcept {
  if (pending_.load(kRelaxed) == 0 || now_ns - decided_ns_.load(kRelaxed) < kLostPendingNs) return;
  pending_.store(0, kRelaxed);
  if (GroupTable::Slot* slot = group_table.own(); slot != nullptr) slot->pending.store(0, kRelaxed);
}

// What is left of the grant and the way to the next sample become the credit that hooks spend.
void Admission::sample(size_t size, uint64_t to_sample) noexcept {
  ThreadState& state = thread_state;
  if (granted_) weight_ = trace::choose(&state.countdown, size, &to_sample);
  const uint64_t granted = state.credit;
  // Below what is recorded in any case: those blocks always come here.
  state.credit = std::min({granted, to_sample, uint64_t{kRecordedAbove - 1}});
  state.countdown.granted_beyond = granted - state.credit;
  state.countdown.sample_beyond = to_sample - state.credit;
}

Admission::Admission(record::RequestKind kind, size_t size, const void* caller,
                     size_t block_size) noexcept
    : caller_(reinterpret_cast<uintptr_t>(caller)) {
  if (gate.mode() == Gate::Mode::kOff) {
    thread_state.credit = UINT64_MAX;  // never comes here again
    return;
  }
  if (gate.mode() == Gate::Mode::kStarting || thread_state.in_slow_path != 0) return;
  const int saved_errno = errno;
  const SlowPathScope scope;
  if (!gate.owns_descriptors()) return;
  watching_ = true;
  ThreadState& state = thread_state;
  const uint64_t to_sample = state.credit + state.countdown.sample_beyond;
  state.credit += state.countdown.granted_beyond;
  if (size <= state.credit &&
      !is_answered_by_error(kind)) {  // it came only because a sample is due
    state.credit -= size;
  } else {
    ask(kind, size);
  }
  sample(block_size, to_sample);
  errno = saved_errno;
}

void Admission::ask(record::RequestKind kind, size_t size) noexcept {
  if (gate.moved_.load(kRelaxed) && gate.moved_.exchange(false)) gate.probe.refresh();
  if (thread_state.thread_id == 0) gate.threads_.fetch_add(1, kRelaxed);
  const int32_t self = current_thread_id();
  if (!is_called_by_handlers(kind)) chores::on_slow_path(self);
  if (is_of_heap(kind)) relief::release_if_wanted();
  gate.last_spender_.store(self, kRelaxed);
  if (size > static_cast<size_t>(kHuge)) return;  // the real call's to answer
  const Request request{kind, static_cast<Bytes>(size), caller_};
  const int64_t now_ns = program_now_ns();
  pass_over(self, now_ns);
  granted_ = gate.decide(request, now_ns, &pending_);
}

void Admission::block(void* address, size_t size, bool from_heap) noexcept {
  if (!watching_ || address == nullptr || (size <= kRecordedAbove && weight_ == 0)) return;
  ThreadState& state = thread_state;
  const uint32_t site = weight_ != 0 ? trace::capture(&state.countdown, size, weight_) : 0;
  if (size <= kRecordedAbove) {
    if (site != 0) trace::remember(address, size, site, weight_);
    return;
  }
  const int64_t now_ns = program_now_ns();
  ledger.add({reinterpret_cast<uintptr_t>(address), static_cast<int64_t>(size), -1, now_ns, caller_,
              current_thread_id(), from_heap, site, weight_});
  // After the ledger: a look in between counts it twice, and not never.
  group_table.add_in_flight(static_cast<int64_t>(size));
  if (state.pass_over_ns == 0) state.pass_over_ns = now_ns + Ledger::kPassedOverNs;
}

Admission::~Admission() {
  if (pending_ != 0) gate.release(pending_);
}

}  // namespace oomguard::budget

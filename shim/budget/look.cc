#include "shim/budget/look.h"

#include <algorithm>

#include "collector/probe/killers.h"
#include "collector/probe/process.h"
#include "shim/budget/group_table.h"
#include "shim/budget/ledger.h"
#include "shim/budget/tree.h"

namespace oomguard::budget::look {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr int64_t kMs = 1'000'000;
constexpr int64_t kRefreshNs = 500 * kMs;
// Where nothing is left, and another's victim is on its way out (out of the list of processes, its
// pages not yet uncharged), opening a file found the next one: seen in 3 of 120 runs beside an
// unguarded process that died of its growth.
constexpr int64_t kLongestPutOffNs = 5000 * kMs;
constexpr int64_t kTextNs = 2000 * kMs;
constexpr int64_t kKillersNs = 30'000 * kMs;
constexpr int64_t kCompleteNs = 1000 * kMs;
constexpr size_t kQuietLooks = 4;  // blocks at each tick, about 20 us each
// A group that is full of file pages keeps its usage while memory takes their place.
constexpr Bytes kFull = 16 * kMiB;

constinit probe::Probe g_probe;
constinit probe::Residency g_residency;

bool near(Bytes headroom) { return headroom < 2 * gate.reserve() + 512 * kMiB; }

// The watchdog itself is one of them.
uint32_t count_threads() { return std::max(probe::count_threads(), 2u) - 1; }

// Where the main thread has ended and there is no other (SYS_exit, a seccomp filter that kills
// threads), the process is over once this thread is, and somebody may wait for that. The last thread's
// end is what wait answers.
void end_with_the_last_thread() {
  probe::ProcessStatus leader;
  if (count_threads() != 1 || !probe::read_status(0, &leader) || leader.state != 'Z') return;
  const int signal = leader.exit_status & 0x7f;
  if (signal != 0) {
    const uint64_t none = 0;
    unsigned long by_default[4] = {};
    sys::call(SYS_rt_sigaction, signal, sys::as_arg(by_default), 0, 8);
    sys::call(SYS_rt_sigprocmask, 2 /*SIG_SETMASK*/, sys::as_arg(&none), 0, 8);
    sys::call(SYS_tgkill, sys::call(SYS_getpid), sys::call(SYS_gettid), signal);
  }
  sys::call(SYS_exit_group, leader.exit_status >> 8);
}

// Once the machine is more than half full: does somebody else end processes before the kernel?
void look_for_killers(Look* look) {
  const probe::Reading& reading = look->judgement.reading;
  if (look->killers_ns != 0 && look->now_ns - look->killers_ns < kKillersNs) return;
  for (uint32_t i = 0; i < reading.level_count; ++i) {
    const probe::Level& level = reading.levels[i];
    if (level.kind != probe::LimitKind::kMachine || level.usage < level.limit / 2) continue;
    gate.set_machine_line(probe::find_killer_line(level.limit));
    look->killers_ns = look->now_ns;
  }
}

void refresh(Look* look) {
  const int64_t age_ns = look->now_ns - look->refreshed_ns;
  if (age_ns > (look->headroom > kRoomToOpen ? kRefreshNs : kLongestPutOffNs)) {
    g_probe.refresh();
    gate.adopt_limits(g_probe);
    gate.set_threads(count_threads());
    end_with_the_last_thread();
    gate.forget_lost_pending(look->now_ns);
    look->refreshed_ns = look->now_ns;
  }
  if (near(look->headroom) && look->now_ns - look->text_ns > kTextNs) {
    const int64_t text = g_residency.resident_text();
    if (text >= 0) {
      look->text = text;
      g_probe.set_resident_text(text);
      gate.probe.set_resident_text(text);
    }
    look->text_ns = look->now_ns;
  }
}

// The counters stand where they stood, and nothing can have taken the place of file pages.
bool stands_still(const Look& look, const probe::Level& level) {
  const Bytes change = level.usage - look.usage;
  return look.calm() && look.tide.still() && change < Tide::kStill && change > -Tide::kStill &&
         level.usage < level.limit - kFull && look.now_ns - look.complete_ns < kCompleteNs;
}

void read_growth(Look* look) {
  const Bytes memory = g_probe.own_memory();
  if (memory < 0) return;
  look->complete_ns = look->now_ns;
  look->own = memory;
  gate.saw_memory(memory);
  ledger.set_slip(look->slip_ns);
  look->in_flight = ledger.in_flight(0, look->now_ns, g_residency);
  const bool is_short = look->headroom < gate.reserve() + 32 * kMiB;
  const Bytes line = gate.incident.grace() ? gate.reserve() / 2 : gate.reserve();
  const Bytes under = std::max<Bytes>(0, line - look->headroom);
  if (tree::may_share_pages()) look->copies.update(tree::faulted_bytes(), memory, needed(*look));
  look->tide.update(memory + gate.file_growth() + look->copies.total(), needed(*look),
                    gate.granted_total() + look->returned, is_short, under, look->in_flight,
                    look->now_ns);
  if (look->tide.moved()) look->moved_ns = look->now_ns;
  if (!look->tide.still()) look->quiet_ns = look->now_ns;
  if (near(look->headroom) && look->tide.moved()) {
    ledger.look_at_quiet(kQuietLooks, look->now_ns, g_residency);
  }
  gate.set_bystander(look->tide.recent_needed() > 4 * kMiB &&
                     look->tide.recent() * 2 < look->tide.recent_needed());
  const tree::Room room = look->headroom <= kRoomToOpen ? tree::Room::kNone
                          : near(look->headroom)        ? tree::Room::kNear
                                                        : tree::Room::kFar;
  tree::look(g_probe, memory, room, look->now_ns);
  if (GroupTable::Slot* slot = group_table.own(); slot != nullptr) {
    slot->in_flight.store(look->in_flight, kRelaxed);
    slot->growth.store(look->tide.recent(), kRelaxed);
    slot->pace.store(look->standing ? 0 : look->tide.grown_in(kMs), kRelaxed);
    slot->heartbeat_ns.store(look->now_ns, std::memory_order_release);
  }
}

}  // namespace

void open() noexcept {
  if (!g_probe.open(gate.probe_config())) gate.count_fault();
  if (!g_residency.open()) gate.count_fault();
  tree::join(g_probe);
  tree::begin_looks();
}

void set_in_file(Bytes bytes) noexcept {
  g_probe.set_given_back(bytes);
  gate.probe.set_given_back(bytes);
}

Bytes headroom_now() noexcept {
  probe::Reading reading;
  probe::Headroom headroom;
  const bool known = gate.look_through(g_probe, g_residency, probe::Depth::kFull,
                                       sys::monotonic_ns(), &reading, &headroom);
  return known ? headroom.bytes : kNoLimit;
}

Bytes headroom_with_text(const Look& look) noexcept {
  g_probe.set_resident_text(0);
  const Bytes headroom = headroom_now();
  g_probe.set_resident_text(look.text);
  return headroom != kNoLimit ? headroom : look.headroom;
}

const probe::Residency& pages() noexcept { return g_residency; }
const probe::Probe& eyes() noexcept { return g_probe; }

Bytes needed(const Look& look) noexcept {
  const probe::Level* level = probe::binding(look.judgement.reading, look.judgement.headroom);
  return level != nullptr ? level->usage - level->reclaimable : 0;
}

bool take(Look* look, bool* changed) noexcept {
  refresh(look);
  Judgement& judgement = look->judgement;
  const auto read = [&](probe::Depth depth) {
    return gate.look_through(g_probe, g_residency, depth, look->now_ns, &judgement.reading,
                             &judgement.headroom);
  };
  // Where a cheap reading was not enough last time it is not tried first: half of a look's cost.
  const bool fully = look->fully;
  look->fully = false;
  if (!read(fully ? probe::Depth::kFull : probe::Depth::kCheap)) return false;
  if (const probe::Level* level = probe::binding(judgement.reading, judgement.headroom)) {
    *changed = !stands_still(*look, *level);
    if (!*changed) return true;
    look->usage = level->usage;
    look->fully = near(level->limit - level->usage);  // what a cheap reading says
  }
  if (look->fully && !fully && !read(probe::Depth::kFull)) return false;
  *changed = true;
  look->headroom = judgement.headroom.bytes;
  look_for_killers(look);
  read_growth(look);
  return true;
}

}  // namespace oomguard::budget::look

#include "shim/budget/watchdog.h"

#include <algorithm>
#include <atomic>

#include "collector/probe/killers.h"
#include "collector/probe/process.h"
#include "collector/record/forget.h"
#include "shim/budget/gate.h"
#include "shim/budget/group_table.h"
#include "shim/budget/growth.h"
#include "shim/budget/ledger.h"
#include "shim/budget/raw_thread.h"
#include "shim/budget/refusal_record.h"
#include "shim/budget/tree.h"
#include "shim/core/session.h"
#include "shim/spill/lender.h"

namespace oomguard::budget::watchdog {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr int64_t kMs = 1'000'000;
constexpr int64_t kRestartAfterNs = 20 * kMs;  // a start costs 0.3 ms; programs fork in loops
// A child that writes to so much of its parent's memory need not ask for any, so that no slow path
// would start its watchdog.
constexpr Bytes kWorthWatching = 64 * kMiB;
constexpr int64_t kRefreshNs = 500 * kMs;
constexpr int64_t kTextNs = 2000 * kMs;
// Old sessions are looked after once, by processes that live for a while.
constexpr int64_t kForgetAfterNs = 10'000 * kMs;
constexpr size_t kKeptSessions = 64;
constexpr size_t kQuietLooks = 4;  // blocks at each tick, about 20 us each
constexpr int64_t kKillersNs = 30'000 * kMs;
constexpr int64_t kCalmNs = 1000 * kMs;
constexpr int64_t kWindowNs = 200 * kMs;  // "recent" growth
// What was granted counts as announced for twice as long: it is filled after it was granted.
constexpr int64_t kGrantedWindowNs = 2 * kWindowNs;

constinit RawThread g_thread;
// Its own eyes: descriptors in its own table.
constinit probe::Probe g_probe;
constinit probe::Residency g_residency;
constinit std::atomic<bool> g_allowed{false};
constinit std::atomic<int32_t> g_paused{0};
constinit std::atomic<int64_t> g_due_ns{0};  // 0: running or not allowed
constinit std::atomic<bool> g_starting{false};
// Whose thread it is. A child made behind libc's back (vfork, _Fork, clone) has none to stop or start.
constinit std::atomic<int32_t> g_process{0};
constinit std::atomic<bool> g_new_child{false};  // its thread lets it become another program first
constinit int64_t g_forget_ns = 0;  // the raw thread's own

// The raw thread's own state, on its stack.
struct Look {
  int64_t now_ns = 0;
  int64_t last_ns = 0;
  int64_t refreshed_ns = 0;
  int64_t text_ns = 0;
  int64_t killers_ns = 0;
  int64_t moved_ns = 0;
  int64_t pause_ns = 0;
  int64_t slip_ns = 0;  // how much longer than asked a sleep lasted lately, at the most
  Bytes headroom = kNoLimit;
  Growth own{kWindowNs};
  Growth needed{kWindowNs};  // of the binding level: everybody's growth
  Growth granted{kGrantedWindowNs};
  Judgement judgement{};
};

Bytes needed_of(const Judgement& judgement) {
  if (judgement.headroom.level >= judgement.reading.level_count) return 0;
  const probe::Level& level = judgement.reading.levels[judgement.headroom.level];
  return level.usage - level.reclaimable;
}

bool near(Bytes headroom) { return headroom < 2 * gate.reserve() + 512 * kMiB; }

// The link count of /proc/self/task is the number of threads and two.
uint32_t count_threads() {
  struct stat status;
  if (sys::call(SYS_newfstatat, AT_FDCWD, sys::as_arg("/proc/self/task"), sys::as_arg(&status), 0) != 0 ||
      status.st_nlink < 4) {
    return 1;
  }
  return static_cast<uint32_t>(status.st_nlink) - 3;  // the watchdog itself is one
}

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

// Reads the limits; false where nothing could be read.
bool read_limits(Look* look) {
  if (look->now_ns - look->refreshed_ns > kRefreshNs) {
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
      g_probe.set_resident_text(text);
      gate.probe.set_resident_text(text);
    }
    look->text_ns = look->now_ns;
  }
  Judgement& judgement = look->judgement;
  const auto read = [&](probe::Depth depth) {
    return gate.look_through(g_probe, g_residency, depth, look->now_ns, &judgement.reading,
                             &judgement.headroom);
  };
  if (!read(probe::Depth::kCheap)) return false;
  if (near(judgement.headroom.bytes) && !read(probe::Depth::kFull)) return false;
  look->headroom = judgement.headroom.bytes;
  look_for_killers(look);
  return true;
}

void read_growth(Look* look) {
  const Bytes memory = probe::own_memory();
  if (memory < 0) return;
  look->own.update(memory + gate.file_growth(), look->now_ns);
  look->needed.update(needed_of(look->judgement), look->now_ns);
  look->granted.update(gate.granted_total(), look->now_ns);
  if (look->own.moved()) look->moved_ns = look->now_ns;
  if (near(look->headroom) && look->own.moved()) {
    ledger.look_at_quiet(kQuietLooks, look->now_ns, g_residency);
  }
  gate.set_bystander(look->needed.recent() > 4 * kMiB &&
                     look->own.recent() * 2 < look->needed.recent());
  tree::look(g_probe, memory, near(look->headroom), look->now_ns);
  if (GroupTable::Slot* slot = group_table.own(); slot != nullptr) {
    slot->in_flight.store(ledger.in_flight(0, look->now_ns, g_residency), kRelaxed);
    slot->growth.store(look->own.recent(), kRelaxed);
    slot->heartbeat_ns.store(look->now_ns, std::memory_order_release);
  }
}

void forget_old_sessions(int64_t now_ns) {
  if (g_forget_ns == 0) g_forget_ns = now_ns + kForgetAfterNs;
  if (now_ns < g_forget_ns) return;
  g_forget_ns = INT64_MAX;
  record::forget_uneventful(gate.values().directory, kKeptSessions);
}

// Its own growth is most of what the group grew by, and more than any guarded neighbour's.
bool acts(const Look& look) {
  const Bytes own = look.own.recent();
  if (own < kMiB || own * 2 < look.needed.recent()) return false;
  return own >= group_table.others(look.now_ns, 0).largest_growth;
}

void sound_alarm(Look* look, Bytes red) {
  const options::OnLimit on_limit = gate.values().on_limit;
  const bool raises = on_limit == options::OnLimit::kRaise;
  if (raises ? !gate.alarm.ready(look->now_ns) : gate.incident.open()) return;
  look->judgement.source = &g_probe;
  look->judgement.pages = &g_residency;
  look->judgement.line = red;
  look->judgement.pending = 0;
  look->judgement.in_flight = ledger.in_flight(0, look->now_ns, g_residency);
  int32_t grower = ledger.most_active_thread(look->now_ns);
  if (grower == 0) grower = gate.last_spender();
  const uint64_t id = gate.incident.refused(look->now_ns, raises);
  const auto outcome = raises                                ? record::Outcome::kException
                       : on_limit == options::OnLimit::kWarn ? record::Outcome::kReported
                                                             : record::Outcome::kRefused;
  const Refusal refusal{record::RequestKind::kTouch, outcome,
                        look->own.recent(), 0, grower, id, &look->judgement};
  const uint64_t number = write_refusal(refusal, look->now_ns);
  if (on_limit == options::OnLimit::kExit) session::exit_with_report(true);
  if (raises) gate.alarm.send(number, grower, look->now_ns);
}

void write_sample(const Look& look) {
  record::FlightHeader& header = session::file()->header;
  header.last_usage_bytes.store(needed_of(look.judgement), kRelaxed);
  header.last_headroom_bytes.store(look.headroom, kRelaxed);
  header.faults.store(gate.faults() + gate.probe.faults() + g_probe.faults(), kRelaxed);
  header.last_sample_ns.store(look.now_ns, std::memory_order_release);
}

// What grows in `ns` at the pace of the last window.
Bytes bytes_in(int64_t ns, Bytes recent) {
  return recent > 0 ? recent / (kWindowNs / kMs) * ns / kMs : 0;
}

// One look; returns how long to sleep.
int64_t tick(Look* look) {
  const int64_t before_ns = look->now_ns;
  look->now_ns = sys::monotonic_ns();
  spill::tend();
  if (!read_limits(look)) return 250 * kMs;
  read_growth(look);
  const bool calm = look->now_ns - look->moved_ns > kCalmNs;
  const int64_t pause = tick_ns(look->headroom, gate.cpus(), calm);
  // A busy machine lets a short sleep last ten times as long: count with the longest of late.
  const int64_t late = before_ns != 0 ? look->now_ns - before_ns - look->pause_ns : 0;
  look->slip_ns = std::clamp<int64_t>(late, look->slip_ns - look->slip_ns / 64, 50 * kMs);
  look->pause_ns = pause;
  const Bytes blind = bytes_in(pause, look->own.recent());
  gate.set_blind(blind < 64 * kMiB ? blind : 64 * kMiB);
  // Growth that no request announced lately: memory granted earlier is being filled.
  const Bytes ungated = look->own.recent() - look->granted.recent();
  const Bytes red = red_line(gate.reserve(), gate.lines_now().small, ungated,
                             bytes_in(pause + look->slip_ns, ungated));
  if (look->headroom < red && acts(*look)) sound_alarm(look, red);
  write_sample(*look);
  forget_old_sessions(look->now_ns);
  return pause;
}

void body() noexcept {
  static constinit Look look;  // one raw thread at a time; too large for a comfortable stack
  look = Look{};
  if (g_new_child.exchange(false)) g_thread.sleep(kRestartAfterNs);
  if (g_thread.stopping()) return;
  if (!g_probe.open(gate.probe_config())) gate.count_fault();
  if (!g_residency.open()) gate.count_fault();
  tree::join(g_probe);
  if (GroupTable::Slot* slot = group_table.own(); slot != nullptr) g_thread.sleep_on(&slot->wake);
  tree::begin_looks();
  while (!g_thread.stopping()) g_thread.sleep(tick(&look));
}

int32_t own_pid() { return static_cast<int32_t>(sys::call(SYS_getpid)); }

bool is_own_process() { return g_process.load(kRelaxed) == own_pid(); }

// A handler that forks would wait for the start that it interrupted.
class SignalsBlocked {
 public:
  SignalsBlocked() noexcept { sys::call(SYS_rt_sigprocmask, 0, sys::as_arg(&kAll), sys::as_arg(&before_), 8); }
  ~SignalsBlocked() { sys::call(SYS_rt_sigprocmask, 2, sys::as_arg(&before_), 0, 8); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  static constexpr uint64_t kAll = ~uint64_t{0};
  uint64_t before_ = 0;
};

void start() noexcept {
  GroupTable::Slot* slot = group_table.own();
  g_thread.sleep_on(slot != nullptr ? &slot->wake : nullptr);
  if (!g_thread.start(body)) gate.count_fault();
}

}  // namespace

void allow() noexcept {
  g_process.store(own_pid());
  g_allowed.store(true);
  start();
}

void pause() noexcept {
  if (!g_allowed.load(kRelaxed) || !is_own_process()) return;
  g_paused.fetch_add(1);
  // Somebody who passed the check in start_if_due before that is about to start it: a few instructions.
  while (g_starting.load()) sys::call(SYS_sched_yield);
  g_due_ns.store(0);
  g_thread.stop();
}

void resume() noexcept {
  if (!g_allowed.load(kRelaxed) || !is_own_process()) return;
  if (g_paused.fetch_sub(1) == 1) g_due_ns.store(program_now_ns() + kRestartAfterNs);
}

void wake() noexcept { g_thread.wake(); }

void on_fork_child() noexcept {
  g_thread.forget();
  g_process.store(own_pid());
  g_starting.store(false);
  g_paused.store(0);
  if (!g_allowed.load(kRelaxed)) return;
  g_due_ns.store(program_now_ns() + kRestartAfterNs);
  if (tree::last_known_memory() < kWorthWatching) return;
  g_new_child.store(true);
  start();
}

bool due() noexcept { return g_due_ns.load(kRelaxed) != 0; }

void start_if_due(int64_t now_ns) noexcept {
  const int64_t due_ns = g_due_ns.load(kRelaxed);
  if (due_ns == 0 || now_ns < due_ns || g_paused.load() != 0 || !is_own_process()) return;
  const SignalsBlocked quiet;
  if (g_starting.exchange(true)) return;
  if (g_paused.load() == 0) {
    g_due_ns.store(0);
    if (!g_thread.running()) start();
  }
  g_starting.store(false);
}

}  // namespace oomguard::budget::watchdog

#include "shim/budget/watchdog.h"

#include <algorithm>
#include <atomic>

#include "collector/probe/process.h"
#include "collector/record/forget.h"
#include "collector/record/kill_counts.h"
#include "shim/budget/escalate.h"
#include "shim/budget/gate.h"
#include "shim/budget/group_table.h"
#include "shim/budget/look.h"
#include "shim/budget/raw_thread.h"
#include "shim/budget/resident.h"
#include "shim/budget/thrashing.h"
#include "shim/budget/timeline.h"
#include "shim/budget/tree.h"
#include "shim/core/early_crash.h"
#include "shim/core/session.h"
#include "shim/trace/holders.h"

namespace oomguard::budget::watchdog {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr int64_t kMs = 1'000'000;
// Its first look costs 0.3 ms, and programs fork in loops; near the limit it looks at once.
constexpr int64_t kRestartAfterNs = 20 * kMs;
constexpr Bytes kNear = 512 * kMiB;
// Old sessions are looked after once, by processes that live for a while.
constexpr int64_t kForgetAfterNs = 10'000 * kMs;
constexpr size_t kKeptSessions = 64;
constexpr Bytes kKeptBytes = 256 * kMiB;
// What a death is explained by. Each opens files.
constexpr int64_t kCountKillsNs = 2'000 * kMs;
constexpr int64_t kCountMachineKillsNs = 32'000 * kMs;

constinit RawThread g_thread;
constinit std::atomic<bool> g_allowed{false};
constinit std::atomic<int32_t> g_paused{0};
constinit std::atomic<int64_t> g_due_ns{0};  // 0: running or not allowed
constinit std::atomic<bool> g_starting{false};
// Whose thread it is. A child made behind libc's back (vfork, _Fork, clone) has none to stop or
// start.
constinit std::atomic<int32_t> g_process{0};
constinit std::atomic<bool> g_is_other{true};  // process than the one whose growth was seen so far
constinit std::atomic<bool> g_restarted{false};
constinit std::atomic<Bytes> g_headroom{kNoLimit};  // of the newest look
enum Doze : uint32_t { kAwake = 0, kDozing, kWoken };
constinit std::atomic<Doze> g_dozing{kAwake};
constinit int64_t g_forget_ns = 0;  // the raw thread's own

void forget_old_sessions(int64_t now_ns) {
  if (g_forget_ns == 0) g_forget_ns = now_ns + kForgetAfterNs;
  if (now_ns < g_forget_ns) return;
  g_forget_ns = INT64_MAX;
  record::forget_uneventful(gate.values().directory, kKeptSessions, kKeptBytes);
}

// Between two, and only after memory moved.
constexpr int64_t kNoteUntouchedNs = 1'000 * kMs;

struct Counting {
  int64_t untouched_ns = 0;
  int64_t kills_ns = 0;
  int64_t machine_ns = 0;
};

void write_sample(const Look& look, bool changed) {
  if (!timeline::add(look, changed)) return;
  record::FlightHeader& header = session::file()->header;
  header.last_usage_bytes.store(look::needed(look), kRelaxed);
  header.last_headroom_bytes.store(look.headroom, kRelaxed);
  header.faults.store(gate.faults() + gate.probe.faults() + look::eyes().faults(), kRelaxed);
  header.last_sample_ns.store(look.now_ns, std::memory_order_release);
}

void count_kills(const Look& look, Counting* counting) {
  record::FlightHeader& header = session::file()->header;
  if (look.headroom < look::kRoomToOpen || !record::is_in_file(header)) return;
  if (counting->kills_ns != 0 && look.now_ns - counting->kills_ns < kCountKillsNs) return;
  const bool machine =
      counting->machine_ns == 0 || look.now_ns - counting->machine_ns >= kCountMachineKillsNs;
  record::put_kill_counts(&header, look::eyes(), machine);
  counting->kills_ns = look.now_ns;
  if (machine) counting->machine_ns = look.now_ns;
}

void note_untouched(const Look& look, Counting* counting) {
  // Looks at pages take what a refusal has no time for.
  if (look.headroom < gate.reserve() || look.moved_ns <= counting->untouched_ns ||
      look.now_ns - counting->untouched_ns < kNoteUntouchedNs) {
    return;
  }
  trace::note_untouched(look.now_ns, look::pages());
  counting->untouched_ns = look.now_ns;
}

// One look; returns how long to sleep.
int64_t tick(Look* look, Escalation* escalation, Thrashing* thrashing, Counting* counting) {
  session::show_due_report(true);
  const int64_t before_ns = look->now_ns;
  look->now_ns = sys::monotonic_ns();
  // A busy machine lets a short sleep last ten times as long: count with the longest of late.
  const int64_t late = before_ns != 0 ? look->now_ns - before_ns - look->pause_ns : 0;
  look->slip_ns = std::clamp<int64_t>(late, look->slip_ns - look->slip_ns / 64, 50 * kMs);
  escalation->look_at_file(look);
  bool changed = false;
  if (!look::take(look, &changed)) return look->pause_ns = 250 * kMs;
  g_headroom.store(look->headroom, kRelaxed);
  if (g_dozing.load(kRelaxed) == kWoken) look->quiet_ns = look->now_ns;
  const int64_t pause = tick_ns(look->headroom, gate.cpus(), look->calm());
  const int64_t doze = look->calm() ? doze_ns(look->headroom, look->now_ns - look->quiet_ns) : 0;
  g_dozing.store(doze > pause ? kDozing : kAwake, kRelaxed);
  look->pause_ns = std::max(pause, doze);
  if (changed) gate.set_blind(std::min(look->tide.grown_in(look->pause_ns), 64 * kMiB));
  escalation->act(look, changed);
  write_sample(*look, changed);
  thrashing->look(*look);
  note_untouched(*look, counting);
  count_kills(*look, counting);
  forget_old_sessions(look->now_ns);
  early_crash::tick(look->now_ns);
  return look->pause_ns;
}

void keep_what_runs(bool is_other) noexcept {
  resident::keep_code();
  timeline::begin(is_other);
  group_table.keep_resident();
}

void body() noexcept {
  // One raw thread at a time; too large for a comfortable stack.
  static constinit Look look;
  static constinit Escalation escalation;
  static constinit Thrashing thrashing;
  static constinit Counting counting;
  const bool is_other = g_is_other.exchange(false);
  if (is_other) {
    look = Look{};
    escalation = Escalation{};
    thrashing = Thrashing{};
    counting = Counting{};
  }
  look.now_ns = 0;
  look.moved_ns = sys::monotonic_ns();  // nobody knows what moved meanwhile
  if (g_restarted.exchange(false) && g_headroom.load(kRelaxed) > kNear)
    g_thread.sleep(kRestartAfterNs);
  if (g_thread.stopping()) return;
  look::open();
  keep_what_runs(is_other);
  if (GroupTable::Slot* slot = group_table.own(); slot != nullptr) g_thread.sleep_on(&slot->wake);
  while (!g_thread.stopping()) g_thread.sleep(tick(&look, &escalation, &thrashing, &counting));
}

int32_t own_pid() { return static_cast<int32_t>(sys::call(SYS_getpid)); }

bool is_own_process() { return g_process.load(kRelaxed) == own_pid(); }

// A handler that forks would wait for the start that it interrupted.
class SignalsBlocked {
 public:
  SignalsBlocked() noexcept {
    sys::call(SYS_rt_sigprocmask, 0, sys::as_arg(&kAll), sys::as_arg(&before_), 8);
  }
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

void restart() noexcept {
  g_restarted.store(true);
  start();
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
  // Somebody who passed the check in start_if_due before that is about to start it: a few
  // instructions.
  while (g_starting.load()) sys::call(SYS_sched_yield);
  g_due_ns.store(0);
  g_thread.stop();
}

bool pause_for_fork() noexcept {
  constexpr uint32_t kItselfAndOne = 2;
  if (g_headroom.load(kRelaxed) <= kNear && g_thread.running() &&
      probe::count_threads() > kItselfAndOne) {
    return false;
  }
  pause();
  return true;
}

void resume(bool at_once) noexcept {
  if (!g_allowed.load(kRelaxed) || !is_own_process()) return;
  if (g_paused.fetch_sub(1) != 1) return;
  g_due_ns.store(program_now_ns() + kRestartAfterNs);
  if (at_once) start_now();
}

void on_fork_child() noexcept {
  g_thread.forget();
  g_dozing.store(kAwake);
  g_process.store(own_pid());
  g_starting.store(false);
  g_paused.store(0);
  if (!g_allowed.load(kRelaxed)) return;
  g_is_other.store(true);
  // It may grow by writing to what it shares with its parent, without a slow path.
  restart();
}

void wake() noexcept { g_thread.wake(); }

void stir() noexcept {
  Doze dozing = kDozing;
  if (g_dozing.load(kRelaxed) == kDozing && g_dozing.compare_exchange_strong(dozing, kWoken) &&
      is_own_process()) {
    g_thread.wake();
  }
}

bool due() noexcept { return g_due_ns.load(kRelaxed) != 0; }

void start_if_due(int64_t now_ns) noexcept {
  const int64_t due_ns = g_due_ns.load(kRelaxed);
  if (due_ns != 0 && now_ns >= due_ns) start_now();
}

void start_now() noexcept {
  if (g_due_ns.load(kRelaxed) == 0 || g_paused.load() != 0 || !is_own_process()) return;
  const SignalsBlocked quiet;
  if (g_starting.exchange(true)) return;
  if (g_paused.load() == 0) {
    g_due_ns.store(0);
    if (!g_thread.running()) restart();
  }
  g_starting.store(false);
}

}  // namespace oomguard::budget::watchdog

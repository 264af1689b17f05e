#include "shim/spill/lender.h"

#include <linux/futex.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>

#include "collector/probe/kernel_text.h"
#include "collector/probe/paths.h"
#include "collector/probe/syscall.h"
#include "shim/budget/gate.h"
#include "shim/budget/look.h"
#include "shim/budget/resident.h"
#include "shim/interpose/real.h"
#include "shim/spill/give_back.h"
#include "shim/spill/mover.h"
#include "shim/spill/ranges.h"
#include "shim/spill/sigbus.h"
#include "shim/spill/stop.h"
#include "shim/spill/store.h"

namespace oomguard::spill {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr int64_t kStopNs = 1'000'000'000;  // of ten threads on two busy CPUs the last took 200 ms
constexpr int64_t kLookAgainNs = 10'000'000'000;
constexpr int64_t kAnswerNs = 500'000'000;
constexpr size_t kFolders = 5;

struct Configuration {
  char folders[kFolders][256];
  Bytes cap;    // --spill-limit, -1: computed
  Bytes limit;
};
constinit Configuration g_configuration{};

constinit Store g_store;
constinit const char* g_store_problem = "";
constinit int64_t g_looked_ns = 0;
constinit int32_t g_owner = 0;  // the raw thread that opened the file
constinit Bytes g_orphaned = 0;
constinit std::atomic<bool> g_active{false};
constinit std::atomic<bool> g_has_lent{false};
constinit std::atomic<Bytes> g_in_file{0};
constinit std::atomic<Bytes> g_copied{0};
constinit std::atomic<Bytes> g_left{0};
constinit std::atomic<int32_t> g_forks{0};  // that are under way

// A fork that waits for its answer.
enum Request : uint32_t { kIdle, kPreparing, kAsked, kYes, kNo };
constinit std::atomic<uint32_t> g_request{kIdle};
constinit std::atomic<Bytes> g_room{0};

void add_folder(const char* folder) noexcept {
  if (folder == nullptr || folder[0] != '/') return;
  for (auto& slot : g_configuration.folders) {
    if (slot[0] != '\0') continue;
    if (!probe::copy_text(slot, sizeof slot, folder)) slot[0] = '\0';
    return;
  }
}

// The raw thread was replaced: its descriptors went with it. What is lent lives on by its mappings.
void notice_new_thread() noexcept {
  const int32_t self = static_cast<int32_t>(sys::call(SYS_gettid));
  if (g_owner == self) return;
  g_owner = self;
  g_store.forget();
  g_looked_ns = 0;
  ranges.each([](Range& range) {
    Range::State expected = Range::State::kLive;
    range.state.compare_exchange_strong(expected, Range::State::kOrphan);
    expected = Range::State::kFreed;
    range.state.compare_exchange_strong(expected, Range::State::kNone);
  });
  g_orphaned = g_in_file.load(kRelaxed);
}

bool open_store() noexcept {
  notice_new_thread();
  if (g_store.is_open()) {
    if (!active()) g_left.store(g_store.left(0), kRelaxed);
    return true;
  }
  const int64_t now_ns = sys::monotonic_ns();
  if (g_looked_ns != 0 && now_ns - g_looked_ns < kLookAgainNs && g_store_problem[0] != '\0') {
    return false;
  }
  g_looked_ns = now_ns;
  g_store_problem = "there is no folder for its file";
  for (const auto& folder : g_configuration.folders) {
    if (folder[0] == '\0') continue;
    g_store_problem = g_store.open(folder, g_configuration.cap, g_configuration.limit);
    if (g_store_problem[0] == '\0') break;
  }
  if (!g_store.is_open()) return false;
  g_left.store(g_store.left(0), kRelaxed);
  return true;
}

bool has_locked_memory() noexcept {
  probe::KeyedValue locked{"VmLck:"};
  return probe::read_keyed_once({"/proc/thread-self", "status"}, &locked, 1) != 0 ||
         locked.value > budget::resident::kept_bytes();
}

// Giving space back waits for pages that are on their way to the disk (138 ms were seen).
void read_usage(bool in_haste) noexcept {
  Bytes copied = 0;
  Bytes freed = 0;
  bool orphans = false;
  bool any = false;
  const bool waits = in_haste && g_store.used() <= g_store.left(g_store.used());
  ranges.each([&](Range& range) {
    if (range.state.load(kRelaxed) == Range::State::kFreed) {
      if (waits) {
        any = true;
        if (range.freed < 0)
          range.freed = g_store.data_in(range.offset, range.offset + range.size());
        freed += range.freed;
        return;
      }
      g_store.punch(range.offset, range.size());
      range.state.store(Range::State::kNone, std::memory_order_release);
      return;
    }
    if (!range.in_use()) return;
    any = true;
    copied += range.copied;
    orphans |= range.state.load(kRelaxed) == Range::State::kOrphan;
  });
  if (!orphans) g_orphaned = 0;
  if (!any && !waits) {
    g_store.close();
    g_active.store(false, std::memory_order_release);
  }
  const Bytes used = g_store.used() + g_orphaned;
  g_in_file.store(any ? std::max<Bytes>(used - freed, 0) : 0, kRelaxed);
  g_copied.store(copied, kRelaxed);
  g_left.store(any ? g_store.left(used) : 0, kRelaxed);
}

bool some_is_lent() noexcept {
  bool some = false;
  ranges.each([&](const Range& range) { some |= range.in_use(); });
  return some;
}

// What the forking thread read may be 0.2 s old by then, and the others filled memory meanwhile.
bool still_fits() noexcept {
  return g_room.load(kRelaxed) == budget::kNoLimit ||
         in_file() <= budget::look::headroom_now() - budget::gate.reserve() / 2;
}

bool answer_fork(bool in_haste) noexcept {
  notice_new_thread();
  if (!active()) return true;
  read_usage(in_haste);
  if (!some_is_lent()) return true;
  if (g_orphaned != 0 || in_file() > g_room.load(kRelaxed)) return false;
  if (!give_back_all(g_store, still_fits)) return false;
  read_usage(in_haste);
  return !some_is_lent();
}

void answer_request(bool in_haste) noexcept {
  if (g_request.load(std::memory_order_acquire) != kAsked) return;
  uint32_t expected = kAsked;
  g_request.compare_exchange_strong(expected, answer_fork(in_haste) ? kYes : kNo,
                                    std::memory_order_acq_rel);
  sys::call(SYS_futex, sys::as_arg(&g_request), FUTEX_WAKE_PRIVATE, INT32_MAX, 0);
}

Outcome outcome_of(const Mover::Totals& totals) {
  if (totals.lent > 0) return Outcome::kLent;
  if (totals.moved) return Outcome::kNotStopped;
  if (totals.no_space) return Outcome::kNoDisk;
  return Outcome::kNothing;
}

}  // namespace

void configure(const options::Values& values, Bytes limit) noexcept {
  g_configuration = Configuration{};
  g_configuration.cap = values.spill_limit_bytes;
  g_configuration.limit = limit;
  if (values.spill_directory[0] != '\0') return add_folder(values.spill_directory);
  add_folder(values.directory);
  add_folder("/var/tmp");
  add_folder(getenv("TMPDIR"));
  add_folder("/tmp");
  char current[256];
  if (sys::call(SYS_getcwd, sys::as_arg(current), sizeof current) > 0) add_folder(current);
}

const char* obstacle() noexcept {
  if (g_configuration.cap == 0) return "--spill-limit is 0";
  if (!interpose::allocator_is_libc()) return "the program brings its own allocator";
  if (!open_store()) return g_store_problem;
  return "";
}

Result lend(Bytes copy_budget, bool hold) noexcept {
  Result result;
  answer_request(true);
  if (obstacle()[0] != '\0') return result.outcome = Outcome::kNoDisk, result;
  if (active()) read_usage(true);
  if (!open_store()) return result.outcome = Outcome::kNoDisk, result;
  if (left() <= 0) return result.outcome = Outcome::kAtCap, result;
  if (has_locked_memory()) return result;
  answer_sigbus();
  const int64_t start_ns = sys::monotonic_ns();
  const bool stopped = stop_threads(kStopNs);
  Mover mover(g_store, std::min(copy_budget, left()));
  if (stopped && g_forks.load() == 0) {
    mover.move_all();
    if (mover.totals().lent > 0) {
      g_has_lent.store(true, kRelaxed);
      g_active.store(true, std::memory_order_release);
    }
  }
  result.threads = stopped_threads();
  moves.fetch_add(1, std::memory_order_release);
  result.outcome = stopped ? outcome_of(mover.totals()) : Outcome::kNotStopped;
  result.all = result.outcome == Outcome::kLent && mover.totals().all();
  result.held = hold && stopped && result.outcome != Outcome::kLent;
  if (!result.held) resume_threads();
  result.stopped_ns = sys::monotonic_ns() - start_ns;
  result.lent = mover.totals().lent;
  result.copied = mover.totals().copied;
  result.scattered = mover.totals().scattered;
  if (active()) read_usage(true);
  return result;
}

Returned give_back(const Pace& pace) noexcept {
  answer_request(false);
  notice_new_thread();
  if (!active() || g_forks.load() != 0 || !g_store.is_open()) return {};
  const Returned done = give_back_some(g_store, pace);
  read_usage(false);
  return done;
}

void tend(bool in_haste) noexcept {
  answer_request(in_haste);
  if (!active()) return;
  notice_new_thread();
  answer_sigbus();
  read_usage(in_haste);
}

Bytes touched() noexcept { return std::max<Bytes>(0, in_file() - g_copied.load(kRelaxed)); }
Bytes in_file() noexcept { return g_in_file.load(kRelaxed); }
Bytes left() noexcept { return g_left.load(kRelaxed); }

bool active() noexcept { return g_active.load(kRelaxed); }
bool has_lent() noexcept { return g_has_lent.load(kRelaxed); }
bool is_lent(uintptr_t block) noexcept {
  const Range* range = has_lent() ? ranges.find(block) : nullptr;
  return range != nullptr && (range->in_use() || range->in_pieces.load(kRelaxed));
}
void forget(uintptr_t block) noexcept { ranges.forget(block); }
void forget_returned(uintptr_t block) noexcept { ranges.forget_returned(block); }
void forget_range(uintptr_t address, uint64_t size) noexcept { ranges.forget_range(address, size); }

bool give_back_for_fork(Bytes room, void (*wake)() noexcept) noexcept {
  // From here on nothing is lent: whoever lends stops this thread first, and looks then.
  g_forks.fetch_add(1);
  if (!active()) return true;
  const int64_t until_ns = sys::monotonic_ns() + kAnswerNs;
  uint32_t state = kIdle;
  while (!g_request.compare_exchange_weak(state, kPreparing, std::memory_order_acq_rel)) {
    state = kIdle;
    if (sys::monotonic_ns() > until_ns) return false;
    sys::call(SYS_sched_yield);
  }
  g_room.store(room, kRelaxed);
  g_request.store(kAsked, std::memory_order_release);
  wake();
  while ((state = g_request.load(std::memory_order_acquire)) == kAsked) {
    if (sys::monotonic_ns() > until_ns) break;
    const timespec pause{0, 50'000'000};
    sys::call(SYS_futex, sys::as_arg(&g_request), FUTEX_WAIT_PRIVATE, kAsked, sys::as_arg(&pause));
  }
  return g_request.exchange(kIdle, std::memory_order_acq_rel) == kYes;
}

void fork_over() noexcept { g_forks.fetch_sub(1); }

void on_fork_child() noexcept {
  g_forks.store(0);
  g_request.store(kIdle);
  g_active.store(false);
  g_in_file.store(0);
  g_copied.store(0);
  ranges.clear();
  forget_sigbus();
  g_store.forget();
  g_owner = 0;
  g_orphaned = 0;
}

bool stop_all(int64_t wait_ns) noexcept { return stop_threads(wait_ns); }
void resume_all() noexcept { resume_threads(); }

}  // namespace oomguard::spill

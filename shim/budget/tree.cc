#include "shim/budget/tree.h"

#include <sys/resource.h>

#include <algorithm>

#include "collector/probe/kernel_text.h"
#include "collector/probe/syscall.h"
#include "shim/budget/gate.h"
#include "shim/budget/group_table.h"

namespace oomguard::budget::tree {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr Bytes kWorthKnowing = 8 * kMiB;
constexpr int64_t kFarRests = 100;  // times the cost of a walk, so 1% of a core
constexpr int64_t kNearRests = 20;

constinit Share g_share;
constinit std::atomic<bool> g_forked{false};
constinit std::atomic<bool> g_shares{false};
constinit std::atomic<bool> g_joining{false};
constinit std::atomic<bool> g_joined{false};  // what this process inherited is known
constinit bool g_looking = false;             // the raw thread's: its share is begun
constinit std::atomic<Bytes> g_memory{0};

bool has_budget() noexcept {
  const options::Values& values = gate.values();
  return values.budget_bytes >= 0 || values.budget_share_permille != 0;
}

// Minor and major page faults of the whole process.
uint64_t count_faults() noexcept {
  rusage usage{};
  if (sys::call(SYS_getrusage, RUSAGE_SELF, sys::as_arg(&usage)) != 0) return 0;
  return static_cast<uint64_t>(usage.ru_minflt) + static_cast<uint64_t>(usage.ru_majflt);
}

int64_t spent_ns() noexcept {
  timespec spent{};
  sys::call(SYS_clock_gettime, CLOCK_THREAD_CPUTIME_ID, sys::as_arg(&spent));
  return static_cast<int64_t>(spent.tv_sec) * 1'000'000'000 + spent.tv_nsec;
}

void walk(uint64_t faults, int64_t now_ns) noexcept {
  const int64_t before_ns = spent_ns();
  probe::MemoryShares shares;
  const bool known = probe::read_shares(&shares);
  const bool origin_lives = group_table.guarded(group_table.origin());
  const Bytes elsewhere =
      known ? counted_elsewhere(shares, g_share.inherited(), origin_lives) : g_share.elsewhere();
  g_share.measured(elsewhere, faults, spent_ns() - before_ns, now_ns);
}

}  // namespace

Bytes counted_elsewhere(const probe::MemoryShares& shares, Bytes inherited, bool origin_lives) {
  const Bytes anonymous = std::max<Bytes>(shares.anonymous - shares.anonymous_share, 0);
  const Bytes shmem = std::max<Bytes>(shares.shmem - shares.shmem_share, 0);
  if (!origin_lives) return anonymous + shmem;
  // A page that two share counts half in each share, one that many share nearly whole.
  const Bytes shared = std::min(inherited, 2 * anonymous) + std::min(shares.shmem, 2 * shmem);
  return std::min(shared, shares.shared_dirty);
}

void Share::begin(uint64_t faults) noexcept {
  elsewhere_ = inherited();
  // A child has been counting since its fork: what it wrote to before this moment was shared.
  faults_ = elsewhere_ > 0 ? 0 : faults;
  cost_ns_ = 0;
  at_ns_ = 0;
}

bool Share::is_due(uint64_t faults, Bytes shareable, bool near, int64_t now_ns) const noexcept {
  if (inherited() + shareable < kWorthKnowing) return false;
  const Bytes touched = static_cast<Bytes>(faults - faults_) * probe::page_size();
  return touched >= kWorthKnowing &&
         now_ns - at_ns_ >= cost_ns_ * (near ? kNearRests : kFarRests);
}

void Share::measured(Bytes elsewhere, uint64_t faults, int64_t cost_ns, int64_t now_ns) noexcept {
  elsewhere_ = elsewhere;
  faults_ = faults;
  cost_ns_ = cost_ns;
  at_ns_ = now_ns;
}

void on_fork_child() noexcept {
  group_table.close_in_child();
  g_forked.store(true, kRelaxed);
  g_shares.store(true, kRelaxed);
  g_joined.store(false);
  g_joining.store(false);
}

void on_fork_parent() noexcept { g_shares.store(true, kRelaxed); }

bool may_share_pages() noexcept { return g_shares.load(kRelaxed); }

Bytes faulted_bytes() noexcept { return static_cast<Bytes>(count_faults()) * probe::page_size(); }

void join(const probe::Probe& eyes) noexcept {
  if (g_joining.exchange(true)) return;
  const bool open = group_table.open(gate.values().directory, eyes.group_key(), gate.budget_key());
  if (open && has_budget()) {
    const Bytes inherited = g_forked.load(kRelaxed) ? std::max<Bytes>(probe::own_memory(), 0) : 0;
    g_share.inherit(inherited);
    const Bytes others = group_table.others(program_now_ns(), group_table.tree()).tree_bytes;
    gate.probe.set_others_usage(others - inherited);
  }
  g_joined.store(true, std::memory_order_release);
}

void begin_looks() noexcept { g_looking = false; }

Bytes last_known_memory() noexcept { return g_memory.load(kRelaxed); }

void look(probe::Probe& eyes, Bytes memory, Room room, int64_t now_ns) noexcept {
  g_memory.store(memory, kRelaxed);
  GroupTable::Slot* slot = group_table.own();
  if (slot == nullptr) return;
  if (room != Room::kNone) group_table.sweep(now_ns);
  // A thread of the program may be about to join: before it has, all that a fork shares would seem
  // to be this process's own, and its relatives would be refused what fits.
  if (!g_looking) {
    if (!g_joined.load(std::memory_order_acquire)) return;
    g_share.begin(count_faults());
    g_looking = true;
  }
  Bytes elsewhere = 0;
  if (has_budget()) {
    // The tree's root counts whatever it maps.
    const bool is_root = group_table.origin() == 0;
    const Bytes shmem = is_root ? 0 : eyes.state().shmem.load(kRelaxed);
    const uint64_t faults = count_faults();
    if (g_share.is_due(faults, shmem, room != Room::kFar, now_ns)) walk(faults, now_ns);
    elsewhere = std::min(g_share.elsewhere(), memory);
    const Bytes others = group_table.others(now_ns, group_table.tree()).tree_bytes - elsewhere;
    eyes.set_others_usage(others);
    gate.probe.set_others_usage(others);
  }
  slot->bytes.store(memory - elsewhere, kRelaxed);
}

}  // namespace oomguard::budget::tree

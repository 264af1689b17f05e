#include "shim/trace/sampler.h"

#include <algorithm>
#include <atomic>

#include "collector/probe/syscall.h"
#include "shim/budget/block_filter.h"
#include "shim/budget/gate.h"
#include "shim/trace/holders.h"
#include "shim/trace/index.h"
#include "shim/trace/known_stack.h"
#include "shim/trace/native_stack.h"
#include "shim/trace/object_table.h"
#include "shim/trace/poisson.h"
#include "shim/trace/python_stack.h"
#include "shim/trace/samples.h"
#include "shim/trace/sites.h"

namespace oomguard::trace {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr uint64_t kExactFrom = 1024 * 1024;
constexpr uint64_t kMostMean = uint64_t{1} << 30;
// Stacks may take one part in so many of a thread's time.
constexpr int64_t kShareOfTime = 80;
constexpr int64_t kTypicalCostNs = 1000;
constexpr uint64_t kMeasuredOneIn = 8;

constinit std::atomic<uint64_t> g_mean{0};      // --sample; doubled where the table is crowded
// Each thread's numbers come from its place in the order in which threads first allocated: a
// program that does the same again is sampled at the same places.
constinit std::atomic<uint64_t> g_threads{0};
constinit std::atomic<int64_t> g_cost_ns{kTypicalCostNs};

// Larger blocks are recorded each.
uint64_t exact_from(uint64_t mean) noexcept { return std::max(kExactFrom, 2 * mean); }

void draw(Countdown* countdown, uint64_t* left) noexcept {
  countdown->drawn_mean = countdown->mean_bytes;
  *left = draw_distance(countdown->mean_bytes, &countdown->random);
}

void begin(Countdown* countdown, uint64_t* left) noexcept {
  const uint64_t base = g_mean.load(kRelaxed);
  countdown->random = mix(g_threads.fetch_add(1, kRelaxed) + 0x6F6F6D) | 1;
  countdown->mean_bytes = base;
  draw(countdown, left);
}

int64_t fair_distance_ns() noexcept {
  return kShareOfTime * g_cost_ns.load(kRelaxed);
}

// Too often for what a stack costs: farther apart. Much less often than that: nearer again.
void adapt(Countdown* countdown, int64_t now_ns) noexcept {
  const int64_t apart_ns = now_ns - countdown->captured_ns;
  const int64_t fair_ns = fair_distance_ns();
  uint64_t mean = countdown->mean_bytes;
  if (apart_ns < fair_ns / 2 && mean < kMostMean) {
    mean *= 2;
  } else if (apart_ns > 2 * fair_ns) {
    mean /= 2;
  }
  countdown->mean_bytes = std::max(mean, g_mean.load(kRelaxed));
  countdown->captured_ns = now_ns;
}

// Nearer between two samples, since the next one may be far away: a loop of large temporary blocks
// is over, and what is kept now would meet none. One step at a time: it may be that the thread had
// no CPU. `left` may be drawn anew where no sample is due, since bytes do not know how long there
// was none.
void look_for_nearer(Countdown* countdown, uint64_t* left) noexcept {
  if (countdown->mean_bytes <= g_mean.load(kRelaxed)) return;
  const int64_t now_ns = budget::program_now_ns();
  if (now_ns - countdown->captured_ns <= 2 * fair_distance_ns()) return;
  adapt(countdown, now_ns);
  draw(countdown, left);
}

// The cost as it is mostly: falls fast and rises slowly, since a thread that lost its CPU meanwhile
// is no measure.
void measure(int64_t start_ns) noexcept {
  const int64_t cost_ns = g_cost_ns.load(kRelaxed);
  const int64_t more_ns = std::min(budget::program_now_ns() - start_ns, 2 * cost_ns) - cost_ns;
  g_cost_ns.store(std::max<int64_t>(500, cost_ns + more_ns / (more_ns > 0 ? 32 : 4)), kRelaxed);
}

}  // namespace

void start(int64_t mean_bytes) noexcept {
  if (mean_bytes <= 0) return;
  find_python();
  prepare_native_stacks(OwnFrames::kLeaveOut);
  sites::start();
  prepare_holders();
  configure(mean_bytes);
}

void configure(int64_t mean_bytes) noexcept {
  g_mean.store(static_cast<uint64_t>(std::max<int64_t>(0, mean_bytes)), kRelaxed);
}

bool enabled() noexcept { return g_mean.load(kRelaxed) != 0; }

int64_t choose(Countdown* countdown, uint64_t size, uint64_t* left) noexcept {
  if (!enabled()) {
    *left = kNever;
    return 0;
  }
  if (countdown->mean_bytes == 0) begin(countdown, left);
  // The way to the next sample stays as long as it was.
  if (size >= exact_from(countdown->mean_bytes)) return static_cast<int64_t>(size);
  if (size < *left) {
    *left -= size;
    look_for_nearer(countdown, left);
    return 0;
  }
  const int64_t weight = weight_of(size, countdown->drawn_mean);
  draw(countdown, left);
  return weight;
}

uint32_t capture(Countdown* countdown, uint64_t size, int64_t weight) noexcept {
  const int64_t start_ns = budget::program_now_ns();
  adapt(countdown, start_ns);
  const uint32_t site = sites::of_this_thread();
  if (site != 0) sites::count_allocated(site, weight, blocks_of(size, weight, countdown->random));
  if (countdown->random % kMeasuredOneIn == 0) measure(start_ns);
  return site;
}

void remember(void* address, uint64_t size, uint32_t site, int64_t weight) noexcept {
  const auto at = reinterpret_cast<uintptr_t>(address);
  remember_again(address, {site, blocks_of(size, weight, mix(at)), weight});
  if (!samples.is_crowded()) return;
  uint64_t mean = g_mean.load(kRelaxed);
  // Only what comes from now on: half of the table fills with half as many.
  if (samples.count() % 1024 == 0 && mean < kMostMean) {
    g_mean.compare_exchange_strong(mean, 2 * mean);
  }
}

void remember_again(void* address, const Sample& sample) noexcept {
  if (!samples.add(reinterpret_cast<uintptr_t>(address), sample)) return;
  budget::block_filter.add(address);
  sites::count_live(sample.site, sample.weight, sample.blocks);
}

bool forget(const void* address, Sample* before) noexcept {
  Sample sample;
  if (!samples.remove(reinterpret_cast<uintptr_t>(address), &sample)) return false;
  budget::block_filter.remove(address);
  sites::count_live(sample.site, -sample.weight, -static_cast<int64_t>(sample.blocks));
  if (before != nullptr) *before = sample;
  return true;
}

void on_fork_child() noexcept {
  forget_holders_users();
  forget_python_readers();
  forget_object_table_users();
  KnownStacks::forget_all();
  samples.on_fork_child();
  sites::on_fork_child();
}

}  // namespace oomguard::trace

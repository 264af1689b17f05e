#include "tests/faults/injector.h"

#include <atomic>

#include "collector/probe/syscall.h"

namespace oomguard {
namespace faults {
namespace {

constinit std::atomic<bool> g_armed{false};
constinit std::atomic<int64_t> g_count{0};
constinit std::atomic<long> g_failed{-1};
constinit int64_t g_most = 0;
constinit Plan g_plan;
constinit const char* g_announcement = nullptr;

bool cannot_fail(long nr) {
  return nr == SYS_getpid || nr == SYS_gettid || nr == SYS_geteuid || nr == SYS_exit_group ||
         nr == SYS_exit || nr == SYS_sched_yield;
}

}  // namespace

void arm(const Plan& plan) {
  g_plan = plan;
  g_count.store(0);
  g_armed.store(true);
}

void disarm() {
  g_armed.store(false);
  if (g_count.load() > g_most) g_most = g_count.load();
}

int64_t most_calls() { return g_most; }

void announce(const char* path) { g_announcement = path; }

long failed_call() { return g_failed.load(); }

}  // namespace faults

bool sys::answered_instead(long nr, const long (&)[4], long* result) {
  using namespace faults;
  if (!g_armed.load(std::memory_order_relaxed) || cannot_fail(nr)) return false;
  const int64_t number = g_count.fetch_add(1) + 1;
  if (g_plan.first == 0 || number < g_plan.first) return false;
  if (number > g_plan.first && !g_plan.and_after) return false;
  long none = -1;
  if (g_failed.compare_exchange_strong(none, nr) && g_announcement != nullptr) {
    const long fd = sys::kernel_call(SYS_openat, AT_FDCWD, sys::as_arg(g_announcement),
                                     O_WRONLY | O_CREAT | O_CLOEXEC, 0600, 0, 0);
    if (fd >= 0) sys::kernel_call(SYS_close, fd, 0, 0, 0, 0, 0);
  }
  // A close that fails has freed its number all the same.
  if (nr == SYS_close) return false;
  *result = -g_plan.error;
  return true;
}

}  // namespace oomguard

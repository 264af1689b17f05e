#include "shim/budget/relief.h"

#include <malloc.h>

#include <atomic>

#include "collector/probe/syscall.h"
#include "shim/budget/ledger.h"
#include "shim/core/dl.h"
#include "shim/interpose/real.h"

namespace oomguard::budget::relief {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr int64_t kPausePerCost = 20;
constexpr int64_t kWorthReleasingBytes = 16 * 1024 * 1024;
constexpr int64_t kLeastPauseNs = 100'000'000;  // between two purges that nobody waits for

using MallocTrim = int (*)(size_t);
using Mallinfo = struct mallinfo2 (*)();
using Mallctl = int (*)(const char*, void*, size_t*, void*, size_t);
using ReleaseFreeMemory = void (*)();
using Collect = void (*)(bool);
constinit MallocTrim g_malloc_trim = nullptr;
constinit Mallinfo g_mallinfo = nullptr;
constinit Mallctl g_mallctl = nullptr;
constinit ReleaseFreeMemory g_release_free_memory = nullptr;
constinit Collect g_collect = nullptr;
constinit std::atomic<bool> g_wanted{false};
constinit std::atomic<int64_t> g_ended_ns{0};
constinit std::atomic<int64_t> g_cost_ns{0};
constinit std::atomic<int64_t> g_held_bytes{0};  // in large blocks, after the last release

template <typename Function>
Function find(const char* name) noexcept {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

bool has_purge() noexcept {
  return g_mallctl != nullptr || g_release_free_memory != nullptr || g_collect != nullptr;
}

bool purge() noexcept {
  if (g_mallctl != nullptr) {
    g_mallctl("thread.tcache.flush", nullptr, nullptr, nullptr, 0);
    return g_mallctl("arena.4096.purge", nullptr, nullptr, nullptr, 0) == 0;  // 4096: of all arenas
  }
  if (g_release_free_memory != nullptr) return g_release_free_memory(), true;
  if (g_collect != nullptr) return g_collect(true), true;
  return false;
}

bool trim(int64_t shortfall) noexcept {
  if (g_malloc_trim == nullptr) return false;
  if (g_mallinfo != nullptr && static_cast<int64_t>(g_mallinfo().fordblks) < shortfall)
    return false;
  return g_malloc_trim(0) == 1;
}

}  // namespace

void init() noexcept {
  if (interpose::allocator_is_libc()) {
    g_malloc_trim = find<MallocTrim>("malloc_trim");
    g_mallinfo = find<Mallinfo>("mallinfo2");  // glibc 2.33
    return;
  }
  g_mallctl = find<Mallctl>("mallctl");
  g_release_free_memory = find<ReleaseFreeMemory>("MallocExtension_ReleaseFreeMemory");
  g_collect = find<Collect>("mi_collect");
}

bool release(int64_t shortfall, bool of_heap) noexcept {
  if (has_purge() && !of_heap) return false;
  const int64_t start_ns = sys::monotonic_ns();
  const bool tried = has_purge() ? purge() : trim(shortfall);
  const int64_t end_ns = sys::monotonic_ns();
  g_cost_ns.store(end_ns - start_ns, kRelaxed);
  g_ended_ns.store(end_ns, kRelaxed);
  g_held_bytes.store(ledger.total_bytes(), kRelaxed);
  return tried;
}

bool affordable() noexcept {
  if (g_held_bytes.load(kRelaxed) - ledger.total_bytes() >= kWorthReleasingBytes) return true;
  return sys::monotonic_ns() - g_ended_ns.load(kRelaxed) > kPausePerCost * g_cost_ns.load(kRelaxed);
}

void want() noexcept { g_wanted.store(true, kRelaxed); }

void release_if_wanted() noexcept {
  if (!g_wanted.load(kRelaxed) || !g_wanted.exchange(false, kRelaxed) || !has_purge()) return;
  const bool too_soon = sys::monotonic_ns() - g_ended_ns.load(kRelaxed) < kLeastPauseNs;
  if (!too_soon && affordable()) release(0, true);
}

}  // namespace oomguard::budget::relief

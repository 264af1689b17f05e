// Hooks of the map family that fill what is mapped already: the kernel kills inside these calls
// instead of failing, although all of them have an error for it (ENOMEM). And madvise of what is
// lent: it means private memory and meets a file.
#include <errno.h>
#include <sys/mman.h>

#include <algorithm>

#include "collector/probe/process.h"
#include "collector/probe/syscall.h"
#include "shim/budget/gate.h"
#include "shim/budget/need.h"
#include "shim/interpose/export.h"
#include "shim/interpose/filling.h"
#include "shim/interpose/real.h"
#include "shim/spill/drop.h"
#include "shim/spill/lender.h"

namespace oomguard::interpose {

constinit std::atomic<bool> maps_are_filled{false};

namespace {

using budget::Admission;
using record::RequestKind;

#define OOMGUARD_COLD [[gnu::cold, gnu::noinline]]

constexpr int kPopulateWrite = 23;  // MADV_POPULATE_WRITE, since Linux 5.14
constexpr int kDropLocked = 24;     // MADV_DONTNEED_LOCKED, since 5.18

template <typename Call>
int judge(size_t need, const void* caller, Call call) noexcept {
  if (need == 0) return call();
  const Admission admission(RequestKind::kPopulate, need, caller);
  if (!admission.granted()) {
    errno = ENOMEM;
    return -1;
  }
  return call();
}

bool is_on() noexcept { return budget::gate.mode() == budget::Gate::Mode::kOn; }

OOMGUARD_COLD int fill(void* address, size_t size, const void* caller) noexcept {
  const size_t need = is_on() ? budget::need_to_fill(address, size, false) : 0;
  return judge(need, caller, [=] { return real.madvise(address, size, kPopulateWrite); });
}

bool drops(int advice) noexcept {
  return advice == MADV_DONTNEED || advice == MADV_FREE || advice == MADV_REMOVE ||
         advice == kDropLocked;
}

// The kernel's answer stands, but where it takes private memory for a file.
OOMGUARD_COLD int drop(void* address, size_t size, int advice) noexcept {
  const uintptr_t from = reinterpret_cast<uintptr_t>(address);
  const auto is_lent = [=] { return spill::active() && spill::ranges.overlaps(from, from + size); };
  if (advice == MADV_REMOVE && is_lent()) {  // for files only
    errno = EINVAL;
    return -1;
  }
  int status = real.madvise(address, size, advice);
  if (advice == MADV_REMOVE || !is_lent()) return status;
  if (advice == MADV_FREE && status != 0) {  // not for files; it may be done at once
    status = real.madvise(address, size, MADV_DONTNEED);
  }
  if (status == 0 || errno != EINVAL) spill::drop_range(from, size);
  return status;
}

template <typename Call>
int lock(const void* address, size_t size, const void* caller, Call call) noexcept {
  ensure_resolved();
  return judge(is_on() ? budget::need_to_fill(address, size, true) : 0, caller, call);
}

// Every mapping in full, less what is this process's already. Files count: locked pages cannot be
// given back any more.
size_t need_to_lock_all() noexcept {
  const int64_t all = budget::gate.residency.accessible_bytes();
  const int64_t there = probe::own_memory();
  return all > there && there >= 0 ? static_cast<size_t>(all - there) : 0;
}

}  // namespace
}  // namespace oomguard::interpose

using namespace oomguard::interpose;  // NOLINT: the exports below are this file's purpose
using oomguard::real;

OOMGUARD_EXPORT int madvise(void* address, size_t size, int advice) noexcept {
  if (advice == kPopulateWrite) [[unlikely]]
    return fill(address, size, __builtin_return_address(0));
  if (drops(advice)) {
    return oomguard::spill::drop_unmoved([=] { return drop(address, size, advice); });
  }
  return real.madvise(address, size, advice);
}

OOMGUARD_EXPORT int mlock(const void* address, size_t size) noexcept {
  return lock(address, size, __builtin_return_address(0),
              [=] { return real.mlock(address, size); });
}

OOMGUARD_EXPORT int mlock2(const void* address, size_t size, unsigned flags) noexcept {
  const size_t filled = (flags & MLOCK_ONFAULT) != 0 ? 0 : size;
  return lock(address, filled, __builtin_return_address(0),
              [=] { return real.mlock2(address, size, flags); });
}

OOMGUARD_EXPORT int mlockall(int flags) noexcept {
  ensure_resolved();
  const bool fills = (flags & MCL_CURRENT) != 0 && (flags & MCL_ONFAULT) == 0 && is_on();
  const int status = judge(fills ? need_to_lock_all() : 0, __builtin_return_address(0),
                           [=] { return real.mlockall(flags); });
  if (status == 0) {
    maps_are_filled.store((flags & (MCL_FUTURE | MCL_ONFAULT)) == MCL_FUTURE,
                          std::memory_order_relaxed);
  }
  return status;
}

OOMGUARD_EXPORT int munlockall() noexcept {
  ensure_resolved();
  const int status = real.munlockall();
  if (status == 0) maps_are_filled.store(false, std::memory_order_relaxed);
  return status;
}

// Hooks of stream-ordered allocation.
#include "shim/gpu/pool.h"

#include <algorithm>

#include "collector/probe/syscall.h"
#include "shim/budget/gate.h"
#include "shim/gpu/budget.h"
#include "shim/gpu/driver.h"

namespace oomguard::gpu {
namespace {

constexpr Bytes kPiece = Bytes{32} << 20;  // by which the driver's pools grow
// In a pool's counts: what is being asked of it, in units; how many look at it that do not own it;
// and that it is about to be destroyed, which waits for them.
constexpr uint32_t kUnit = 1 << 16;
constexpr uint32_t kMostUnits = 1 << 21;
constexpr uint32_t kLook = 1 << 24;
constexpr uint32_t kLooks = 0x7f * kLook;
constexpr uint32_t kEnding = 1u << 31;
constexpr int64_t kMostWaitNs = 2'000'000'000;  // then it is destroyed under whoever looks at it

uint64_t key_of(CUmemoryPool pool) noexcept { return reinterpret_cast<uint64_t>(pool); }

Bytes attribute(CUmemoryPool pool, int which) noexcept {
  uint64_t value = 0;
  if (driver.cuMemPoolGetAttribute == nullptr ||
      driver.cuMemPoolGetAttribute(pool, which, &value) != kSuccess) {
    return -1;
  }
  return static_cast<Bytes>(value);
}

// A pool is put in once, by whoever meets it first.
constinit std::atomic<bool> g_adding{false};
bool know(CUmemoryPool pool, int device) noexcept {
  Table::Entry entry;
  if (ledger.pools.find(key_of(pool), &entry)) return entry.device == device;
  while (g_adding.exchange(true, std::memory_order_acquire)) sys::call(SYS_sched_yield);
  const bool known = ledger.pools.find(key_of(pool), &entry) ||
                     ledger.pools.put({key_of(pool), 0, 0, static_cast<int16_t>(device),
                                       static_cast<uint16_t>(Account::kPool), 0});
  g_adding.store(false, std::memory_order_release);
  return known;
}

// What counts of a pool that has `now`: where it became smaller, those who are asking it were told
// that what it had is there for them.
Bytes counted_of(CUmemoryPool pool, const Table::Entry& entry, Bytes now) noexcept {
  if (entry.bytes <= now) return now;
  const Bytes needed = attribute(pool, kPoolInUse) + Bytes{entry.counts % kLook} * kUnit;
  return std::max(now, std::min(entry.bytes, (needed + kPiece - 1) / kPiece * kPiece));
}

// Takes over what the pool has, until that is what was read. `charge`: whose reservation the growth
// was for, or null. Whoever finds nothing new may let its reservation go, so growth is in the
// ledger before it is in the entry. Answers by how much the pool grew.
Bytes follow(CUmemoryPool pool, int device, Charge* charge) noexcept {
  Bytes growth = 0;
  Table::Entry entry;
  for (Bytes now = attribute(pool, kPoolReserved); now >= 0;) {
    if (!ledger.pools.find(key_of(pool), &entry)) break;
    const Bytes counted = counted_of(pool, entry, now);
    const Bytes more = counted - entry.bytes;
    const Bytes reserved = charge != nullptr && more > 0 ? std::min(more, charge->reserved()) : 0;
    if (more > 0) ledger.grow(device, Account::kPool, more, reserved);
    if (!ledger.pools.change_bytes(key_of(pool), entry.bytes, counted)) {
      if (more > 0) ledger.grow(device, Account::kPool, -more, -reserved);
      now = attribute(pool, kPoolReserved);
      continue;
    }
    if (more < 0) ledger.grow(device, Account::kPool, more, 0);
    if (reserved != 0) charge->spend(reserved);
    growth += more;
    const Bytes again = attribute(pool, kPoolReserved);
    if (again == now) break;
    now = again;
  }
  return growth;
}

// What the card has to have for all that is being asked of this pool now. `trimmed`: somebody has
// it give back what nobody uses, so that it may have less in a moment.
Bytes growth_for(CUmemoryPool pool, Bytes asked, bool trimmed) noexcept {
  const Bytes reserved = attribute(pool, kPoolReserved);
  const Bytes in_use = attribute(pool, kPoolInUse);
  if (reserved < 0 || in_use < 0) return asked;
  const Bytes missing = in_use + asked - (trimmed ? std::min(reserved, in_use) : reserved);
  return missing > 0 ? (missing + kPiece - 1) / kPiece * kPiece : 0;
}

bool is_capturing(CUstream stream, bool per_thread) noexcept {
  const auto ask = per_thread ? driver.cuStreamIsCapturing_ptsz : driver.cuStreamIsCapturing;
  int status = kCaptureNone;
  return ask != nullptr && ask(stream, &status) == kSuccess && status != kCaptureNone;
}

// `pool`: null where it is the current one of the card.
template <typename Call>
CUresult allocate(CUmemoryPool pool, size_t bytes, CUstream stream, bool per_thread,
                  const void* caller, Call call) noexcept {
  int device = current_card();
  if (device < 0) return call();
  const Bytes size = static_cast<Bytes>(std::min<size_t>(bytes, size_t{1} << 46));
  if (is_capturing(stream, per_thread)) {
    note_graph_memory();
    Charge charge(device, Account::kGraph, size, size, caller);
    const CUresult status = charge.granted() ? call() : kOutOfMemory;
    if (status == kSuccess) charge.commit(0);  // the launch takes it
    return status;
  }
  Table::Entry entry;
  if (pool == nullptr) {
    if (driver.cuDeviceGetMemPool == nullptr ||
        driver.cuDeviceGetMemPool(&pool, device) != kSuccess || !know(pool, device)) {
      return call();
    }
  } else if (ledger.pools.find(key_of(pool), &entry)) {
    device = entry.device;
    if (static_cast<Account>(entry.account) != Account::kPool) return call();
  } else if (!know(pool, device)) {
    return call();
  }
  // What it gave back since somebody looked: from here on this request counts on what it has.
  if (ledger.pools.find(key_of(pool), &entry) && attribute(pool, kPoolReserved) < entry.bytes) {
    (void)follow(pool, device, nullptr);
  }
  const auto units =
      static_cast<uint32_t>(std::min<Bytes>((size + kUnit - 1) / kUnit, kMostUnits));
  uint32_t all_units = 0;
  const bool counted = ledger.pools.add(key_of(pool), units, &all_units);
  CUresult status = kOutOfMemory;
  {
    const Bytes asked = std::max(size, Bytes{all_units % kLook} * kUnit);
    const Bytes growth = growth_for(pool, asked, (all_units & kLooks) != 0);
    Charge charge(device, Account::kPool, size, growth, caller);
    if (charge.granted()) status = call();
    if (!charge.counts()) {
    } else if (status == kSuccess) {
      (void)follow(pool, device, &charge);
      charge.commit(0);
    } else if (charge.granted()) {
      charge.failed(status);
      (void)follow(pool, device, &charge);
    }
  }
  if (counted) (void)ledger.pools.add(key_of(pool), 0 - units, &all_units);
  return status;
}

// A pool that another thread may be about to destroy. False: it is. `asked`: of the pool by threads
// that did not see this look begin, and count on what it has.
bool begin_look(uint64_t key, Bytes* asked) noexcept {
  uint32_t now = 0;
  if (!ledger.pools.add(key, kLook, &now)) return false;
  *asked = Bytes{now % kLook} * kUnit;
  if ((now & kEnding) == 0) return true;
  (void)ledger.pools.add(key, 0 - kLook, &now);
  return false;
}

void end_look(uint64_t key) noexcept {
  uint32_t now = 0;
  (void)ledger.pools.add(key, 0 - kLook, &now);
}

bool trim(int device) noexcept {
  Bytes given_back = 0;
  ledger.pools.for_each([&](const Table::Entry& entry) {
    if (entry.device != device || static_cast<Account>(entry.account) != Account::kPool) return;
    Bytes asked = 0;
    if (!begin_look(entry.key, &asked)) return;
    const auto pool = reinterpret_cast<CUmemoryPool>(entry.key);
    const Bytes kept = attribute(pool, kPoolInUse) + asked;
    if (attribute(pool, kPoolReserved) > kept) {
      driver.cuMemPoolTrimTo(pool, asked == 0 ? 0 : static_cast<size_t>(kept));
    }
    given_back -= follow(pool, device, nullptr);
    end_look(entry.key);
  });
  return given_back > 0;
}

}  // namespace

bool release_pools(int device) noexcept {
  const bool trimmed = trim(device);
  return release_graphs(device) || trimmed;
}

CUresult oomguard_gpu_cuMemAllocAsync(CUdeviceptr* address, size_t size,
                                      CUstream stream) noexcept {
  return allocate(nullptr, size, stream, false, __builtin_return_address(0),
                  [=] { return driver.cuMemAllocAsync(address, size, stream); });
}

CUresult oomguard_gpu_cuMemAllocAsync_ptsz(CUdeviceptr* address, size_t size,
                                           CUstream stream) noexcept {
  return allocate(nullptr, size, stream, true, __builtin_return_address(0),
                  [=] { return driver.cuMemAllocAsync_ptsz(address, size, stream); });
}

CUresult oomguard_gpu_cuMemAllocFromPoolAsync(CUdeviceptr* address, size_t size,
                                              CUmemoryPool pool, CUstream stream) noexcept {
  return allocate(pool, size, stream, false, __builtin_return_address(0), [=] {
    return driver.cuMemAllocFromPoolAsync(address, size, pool, stream);
  });
}

CUresult oomguard_gpu_cuMemAllocFromPoolAsync_ptsz(CUdeviceptr* address, size_t size,
                                                   CUmemoryPool pool, CUstream stream) noexcept {
  return allocate(pool, size, stream, true, __builtin_return_address(0), [=] {
    return driver.cuMemAllocFromPoolAsync_ptsz(address, size, pool, stream);
  });
}

// Pools of host memory, and of memory that moves, are known and charged to nobody.
CUresult oomguard_gpu_cuMemPoolCreate(CUmemoryPool* pool, const CUmemPoolProps* props) noexcept {
  const CUresult status = driver.cuMemPoolCreate(pool, props);
  if (status != kSuccess) return status;
  const bool is_card = props->location.type == kLocationDevice &&
                       props->alloc_type == kPinnedAllocation &&
                       Ledger::is_card(props->location.id);
  (void)ledger.pools.put({key_of(*pool), 0, 0,
                          static_cast<int16_t>(is_card ? props->location.id : -1),
                          static_cast<uint16_t>(is_card ? Account::kPool : Account::kNone), 0});
  return status;
}

CUresult oomguard_gpu_cuMemPoolDestroy(CUmemoryPool pool) noexcept {
  Table::Entry entry;
  uint32_t now = 0;
  bool known = ledger.pools.add(key_of(pool), kEnding, &now);
  const int64_t until_ns = budget::program_now_ns() + kMostWaitNs;
  while (known && (now & kLooks) != 0) {
    if (budget::program_now_ns() > until_ns) {
      budget::gate.count_fault();
      break;
    }
    sys::call(SYS_sched_yield);
    known = ledger.pools.add(key_of(pool), 0, &now);
  }
  known = known && ledger.pools.take(key_of(pool), &entry);
  const CUresult status = driver.cuMemPoolDestroy(pool);
  entry.counts %= kLook;
  if (!known || (status != kSuccess && ledger.pools.put(entry))) return status;
  if (entry.device >= 0) ledger.grow(entry.device, Account::kPool, -entry.bytes, 0);
  return status;
}

CUresult oomguard_gpu_cuMemPoolTrimTo(CUmemoryPool pool, size_t kept) noexcept {
  const CUresult status = driver.cuMemPoolTrimTo(pool, kept);
  Table::Entry entry;
  if (ledger.pools.find(key_of(pool), &entry) &&
      static_cast<Account>(entry.account) == Account::kPool) {
    (void)follow(pool, entry.device, nullptr);
  }
  return status;
}

}  // namespace oomguard::gpu

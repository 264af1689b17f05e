#include "shim/gpu/budget.h"

#include <string.h>
#include <time.h>

#include <algorithm>

#include "shim/budget/gate.h"
#include "shim/budget/group_table.h"
#include "shim/gpu/context.h"
#include "shim/gpu/driver.h"
#include "shim/gpu/pool.h"
#include "shim/gpu/refusal.h"

namespace oomguard::gpu {
namespace {

using budget::gate;
using budget::group_table;

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr Bytes kMiB = 1 << 20;
constexpr int64_t kReadingNs = 100'000'000;
constexpr int kTreeTries = 4;

// What is known of a card, once.
struct Known {
  enum State : uint32_t { kNew = 0, kBegun, kReady };
  std::atomic<uint32_t> state;
  std::atomic<Bytes> total;   // 0: the driver does not tell
  std::atomic<Bytes> budget;  // kNoBudget: auto
  // Its memory is the host's: what is free of that does not tell what may be had.
  std::atomic<bool> integrated;
  // By the last reading of what is free, so much may be taken until then.
  std::atomic<Bytes> room;
  std::atomic<int64_t> room_until_ns;
};
constinit Known g_known[kCards] = {};

// Never 0. The driver's name of a card or of a part of one (MIG), which all processes agree on.
uint64_t key_of(int device) noexcept {
  CUuuid name{};
  const auto ask = driver.cuDeviceGetUuid_v2 != nullptr ? driver.cuDeviceGetUuid_v2
                                                        : driver.cuDeviceGetUuid;
  if (ask == nullptr || ask(&name, device) != kSuccess) return 0;
  uint64_t halves[2];
  memcpy(halves, name.bytes, sizeof halves);
  const uint64_t key = (halves[0] ^ halves[1] << 1 ^ halves[1] >> 63) * 0x9e3779b97f4a7c15u;
  return key != 0 ? key : 1;
}

Bytes configured(int device, Bytes total) noexcept {
  const options::GpuBudget* found = options::gpu_budget_of(gate.values(), device);
  if (found == nullptr) return kNoBudget;
  if (found->share_permille == 0) return found->bytes;
  const auto share = static_cast<__int128>(total) * found->share_permille / 1000;
  return total > 0 ? static_cast<Bytes>(share) : kNoBudget;
}

// The driver is asked by everybody who comes; the numbers are set by whoever comes first.
Known& know(int device) noexcept {
  Known& known = g_known[device];
  if (known.state.load(std::memory_order_acquire) == Known::kReady) [[likely]] return known;
  size_t total = 0;
  if (driver.cuDeviceTotalMem_v2(&total, device) != kSuccess) total = 0;
  const Bytes budget = configured(device, static_cast<Bytes>(total));
  const uint64_t key = budget != kNoBudget && gate.owns_descriptors() ? key_of(device) : 0;
  int integrated = 0;
  if (driver.cuDeviceGetAttribute == nullptr ||
      driver.cuDeviceGetAttribute(&integrated, kIntegrated, device) != kSuccess) {
    integrated = 0;
  }
  char name[40] = "";
  if (driver.cuDeviceGetName == nullptr ||
      driver.cuDeviceGetName(name, sizeof name, device) != kSuccess) {
    name[0] = '\0';
  }
  uint32_t state = Known::kNew;
  if (known.state.compare_exchange_strong(state, Known::kBegun)) {
    known.total.store(static_cast<Bytes>(total), kRelaxed);
    known.budget.store(budget, kRelaxed);
    known.integrated.store(integrated != 0, kRelaxed);
    if (key != 0) ledger.card(device).shared.store(group_table.card(key), kRelaxed);
    ledger.show(device, static_cast<Bytes>(total), budget, name);
    known.state.store(Known::kReady, std::memory_order_release);
  }
  while (known.state.load(std::memory_order_acquire) != Known::kReady) {
    sys::call(SYS_sched_yield);  // a few stores, in another thread
  }
  return known;
}

// Kept free by auto: what libraries take of a context past the gate.
Bytes reserve_of(Bytes total) noexcept {
  return std::clamp<Bytes>(total / 512, 32 * kMiB, 256 * kMiB);
}

// What the card has free beyond the reserve and what is reserved by others; false: unknown.
bool read_room(int device, Bytes* room) noexcept {
  size_t free = 0;
  size_t total = 0;
  if (current_card() != device || driver.cuMemGetInfo_v2(&free, &total) != kSuccess) return false;
  Bytes committed = 0;
  for (size_t i = 0; i < static_cast<size_t>(Account::kManaged); ++i)
    committed += ledger.of(device, static_cast<Account>(i));
  const Bytes asked = std::max<Bytes>(ledger.held(device) - committed, 0);
  *room = static_cast<Bytes>(free) - reserve_of(static_cast<Bytes>(total)) - asked;
  return true;
}

// `size` is reserved already. By the last reading, of which half may be taken, or by a new one.
bool fits_card(int device, Bytes size) noexcept {
  Known& known = g_known[device];
  const int64_t now_ns = budget::program_now_ns();
  if (now_ns < known.room_until_ns.load(kRelaxed) && size <= known.room.load(kRelaxed) / 16 &&
      known.room.fetch_sub(size, kRelaxed) >= size) {
    return true;
  }
  Bytes room = 0;
  if (known.integrated.load(kRelaxed) || !read_room(device, &room)) return true;
  known.room.store(room / 2, kRelaxed);
  known.room_until_ns.store(room > 0 ? now_ns + kReadingNs : 0, kRelaxed);
  return room >= 0;
}

// Reserved so that everybody sees it, then judged by what everybody has: two processes that reserve
// at once may both be over, and try again at different moments.
bool fits_tree(int device, Bytes size, Bytes limit) noexcept {
  const auto* shared = ledger.card(device).shared.load(kRelaxed);
  if (shared == nullptr) return true;
  for (int attempt = 0;; ++attempt) {
    const Bytes others = group_table.others_on_card(shared);
    if (ledger.held(device) + others <= limit) return true;
    ledger.release(device, size);
    if (attempt == kTreeTries || others + size > limit) return false;
    timespec pause{0, (1 + (current_thread_id() & 7)) * 20'000L << attempt};
    sys::call(SYS_nanosleep, sys::as_arg(&pause), 0);
    if (!ledger.reserve(device, size, limit)) return false;
  }
}

bool reserve(int device, Bytes size, Bytes budget) noexcept {
  if (budget != kNoBudget)
    return ledger.reserve(device, size, budget) && fits_tree(device, size, budget);
  if (!ledger.reserve(device, size, kNoBudget)) return false;
  if (fits_card(device, size)) return true;
  ledger.release(device, size);
  return false;
}

// What of managed memory has no room on the card. It lives in the host's memory then.
Bytes beyond_card(int device, Bytes size, const Known& known) noexcept {
  const Bytes budget = known.budget.load(kRelaxed);
  const Bytes limit = budget != kNoBudget ? budget : known.total.load(kRelaxed);
  const Bytes used = ledger.held(device) + ledger.of(device, Account::kManaged);
  return std::clamp<Bytes>(used + size - limit, 0, size);
}

Bytes limit_now(const Known& known) noexcept {
  const Bytes budget = known.budget.load(kRelaxed);
  if (budget != kNoBudget) return budget;
  return std::max<Bytes>(known.total.load(kRelaxed) - reserve_of(known.total.load(kRelaxed)), 0);
}

// Of what `limit_now` is the limit of.
Bytes used_now(int device, const Known& known) noexcept {
  Bytes room = 0;
  if (known.budget.load(kRelaxed) == kNoBudget)
    return read_room(device, &room) ? limit_now(known) - room : ledger.held(device);
  const auto* shared = ledger.card(device).shared.load(kRelaxed);
  return ledger.held(device) + (shared != nullptr ? group_table.others_on_card(shared) : 0);
}

bool host_grants(Bytes size, uintptr_t caller) noexcept {
  if (size <= 0) return true;
  const budget::Admission admission(record::RequestKind::kPinned, static_cast<size_t>(size),
                                    reinterpret_cast<const void*>(caller));
  return admission.granted();
}

}  // namespace

int current_card() noexcept {
  if (!bind_if_loaded() || driver.cuCtxGetDevice == nullptr) return -1;
  CUdevice device = -1;
  return driver.cuCtxGetDevice(&device) == kSuccess ? device : -1;
}

Bytes budget_of(int device) noexcept {
  return Ledger::is_card(device) ? know(device).budget.load(kRelaxed) : kNoBudget;
}

void limit_view(int device, size_t* free, size_t* total) noexcept {
  if (!Ledger::is_card(device) || gate.mode() != budget::Gate::Mode::kOn ||
      gate.values().view == options::View::kHost || thread_state.sees_host != 0) {
    return;
  }
  Known& known = know(device);
  const Bytes budget = known.budget.load(kRelaxed);
  const bool is_auto = budget == kNoBudget;
  if (free != nullptr) {
    const Bytes real = static_cast<Bytes>(*free);
    const Bytes kept =
        known.integrated.load(kRelaxed) ? 0 : reserve_of(known.total.load(kRelaxed));
    const Bytes left = is_auto ? real - kept : budget - used_now(device, known);
    *free = static_cast<size_t>(std::clamp<Bytes>(left, 0, real));
  }
  if (total != nullptr && !is_auto) *total = std::min(*total, static_cast<size_t>(budget));
}

void on_fork_child() noexcept {
  if (!is_bound()) return;
  ledger.forget();
  forget_refusals();
  forget_graphs();
  for (Known& known : g_known) {
    if (known.state.load(kRelaxed) == Known::kNew) continue;
    known.state.store(Known::kNew, kRelaxed);
    known.room_until_ns.store(0, kRelaxed);
  }
}

Charge::Charge(int device, Account account, Bytes size, Bytes need, const void* caller) noexcept
    : request_{device, account, size, reinterpret_cast<uintptr_t>(caller)} {
  const bool nested = thread_state.in_driver++ != 0;
  if (nested || gate.mode() != budget::Gate::Mode::kOn) return;
  if (!Ledger::is_card(device)) return;
  counts_ = true;
  Known& known = know(device);
  if (account == Account::kManaged) {
    granted_ = host_grants(beyond_card(device, size, known), request_.caller);
    return;
  }
  if (need == 0) return;  // a pool has it already
  const Bytes budget = known.budget.load(kRelaxed);
  measure_contexts_if_due(device);
  granted_ = reserve(device, need, budget) ||
             (release_pools(device) && reserve(device, need, budget));
  if (!granted_ && refuse(request_, limit_now(known), used_now(device, known)))
    granted_ = ledger.reserve(device, need, kNoBudget);
  if (granted_) reserved_ = need;
}

Charge::~Charge() {
  --thread_state.in_driver;
  if (reserved_ != 0) ledger.release(request_.device, reserved_);
}

void Charge::commit(Bytes size) noexcept {
  if (!counts_) return;
  if (request_.account == Account::kManaged) {
    ledger.add_managed(request_.device, size);
  } else {
    ledger.grow(request_.device, request_.account, size, reserved_);
    reserved_ = 0;
  }
  gpu::granted(request_);
}

void Charge::failed(CUresult status) noexcept {
  if (!counts_ || status != kOutOfMemory) return;
  driver_refused(request_, know(request_.device).total.load(kRelaxed));
}

}  // namespace oomguard::gpu

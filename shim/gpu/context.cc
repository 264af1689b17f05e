// Hooks of contexts: what they take of a card, and what ends with them.
#include "shim/gpu/context.h"

#include <algorithm>

#include "collector/probe/syscall.h"
#include "shim/budget/gate.h"
#include "shim/gpu/audit.h"
#include "shim/gpu/budget.h"
#include "shim/gpu/driver.h"
#include "shim/gpu/nvml.h"

namespace oomguard::gpu {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr Bytes kMostContext = Bytes{2} << 30;
constexpr int64_t kMeasureNs = 1'000'000'000;
constexpr int64_t kAtOnce = 1;
constexpr size_t kMostProcesses = 64;

// Of each card, as far as somebody asked for it.
constinit std::atomic<uint64_t> g_primary[kCards] = {};
constinit std::atomic<bool> g_measuring{false};
// When to look next; 0: the card tells nothing.
constinit std::atomic<int64_t> g_measure_ns[kCards] = {};

bool is_budgeted(int device) noexcept {
  return Ledger::is_card(device) && budget::gate.mode() == budget::Gate::Mode::kOn &&
         budget_of(device) != kNoBudget;
}

// As the card tells; -1 where it does not (another namespace of processes, or no such right).
Bytes own_bytes(int device) noexcept {
  nvml::Process processes[kMostProcesses];
  const size_t count = nvml::list(device, processes, kMostProcesses);
  const auto self = static_cast<int32_t>(sys::call(SYS_getpid));
  for (size_t i = 0; i < count; ++i) {
    if (processes[i].pid == self) return processes[i].bytes;
  }
  return -1;
}

// `made`: the context that was just made, with which the card has `grown` more in use. That counts
// where the card does not tell by whom its memory is used, and ends with the context.
void measure(int device, uint64_t made, Bytes grown) noexcept {
  if (g_measuring.exchange(true, std::memory_order_acquire)) return;
  const Bytes before = ledger.of(device, Account::kContext);
  const Bytes held = ledger.held(device);
  const Bytes own = own_bytes(device);
  if (own >= 0) {
    // What others freed or took while the card was asked is not taken for the context's.
    const Bytes known = std::max(held, ledger.held(device)) - before;
    ledger.grow(device, Account::kContext, std::max<Bytes>(own - known, 0) - before, 0);
  } else if (grown > 0) {
    const Table::Entry entry{made, std::min(grown, kMostContext), 0, static_cast<int16_t>(device),
                             static_cast<uint16_t>(Account::kContext), made};
    if (ledger.blocks.put(entry)) ledger.grow(device, Account::kContext, entry.bytes, 0);
  }
  g_measure_ns[device].store(own >= 0 ? budget::program_now_ns() + kMeasureNs : 0, kRelaxed);
  g_measuring.store(false, std::memory_order_release);
}

template <typename Call>
CUresult make_measured(CUcontext* context, CUdevice device, Call call) noexcept {
  if (!bind_if_loaded() || !is_budgeted(device) || !nvml::open(true)) return call();
  const Bytes before = nvml::in_use(device);
  const CUresult status = call();
  if (status != kSuccess) return status;
  const Bytes after = nvml::in_use(device);
  measure(device, reinterpret_cast<uint64_t>(*context),
          before >= 0 && after >= before ? after - before : 0);
  return status;
}

template <typename Call>
CUresult make(CUcontext* context, CUdevice device, Call call) noexcept {
  const CUresult status = make_measured(context, device, call);
  if (status == kSuccess) audit_after_context();
  return status;
}

bool is_active(CUdevice device) noexcept {
  unsigned flags = 0;
  int active = 1;
  return driver.cuDevicePrimaryCtxGetState == nullptr ||
         driver.cuDevicePrimaryCtxGetState(device, &flags, &active) != kSuccess || active != 0;
}

CUresult dropped(CUdevice device, CUresult status, bool is_gone) noexcept {
  if (status != kSuccess || !Ledger::is_card(device) || !is_gone) return status;
  // Not what pools have: drivers keep that through a reset.
  end_of_context(g_primary[device].load(kRelaxed));
  if (g_measure_ns[device].load(kRelaxed) == 0) return status;
  measure(device, 0, 0);
  // The card told of this process and does no longer: it has nothing there any more.
  if (g_measure_ns[device].load(kRelaxed) == 0)
    ledger.grow(device, Account::kContext, -ledger.of(device, Account::kContext), 0);
  return status;
}

}  // namespace

void measure_contexts_if_due(int device) noexcept {
  const int64_t due_ns = g_measure_ns[device].load(kRelaxed);
  if (due_ns != 0 && budget::program_now_ns() >= due_ns) measure(device, 0, 0);
}
CUresult oomguard_gpu_cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) noexcept {
  const auto call = [=] { return driver.cuDevicePrimaryCtxRetain(context, device); };
  const CUresult status = is_active(device) ? call() : make(context, device, call);
  if (status == kSuccess && Ledger::is_card(device)) {
    g_primary[device].store(reinterpret_cast<uint64_t>(*context), kRelaxed);
  }
  return status;
}

CUresult oomguard_gpu_cuDevicePrimaryCtxRelease(CUdevice device) noexcept {
  const CUresult status = driver.cuDevicePrimaryCtxRelease(device);
  return dropped(device, status, !is_active(device));
}

CUresult oomguard_gpu_cuDevicePrimaryCtxRelease_v2(CUdevice device) noexcept {
  const CUresult status = driver.cuDevicePrimaryCtxRelease_v2(device);
  return dropped(device, status, !is_active(device));
}

CUresult oomguard_gpu_cuDevicePrimaryCtxReset(CUdevice device) noexcept {
  return dropped(device, driver.cuDevicePrimaryCtxReset(device), true);
}

CUresult oomguard_gpu_cuDevicePrimaryCtxReset_v2(CUdevice device) noexcept {
  return dropped(device, driver.cuDevicePrimaryCtxReset_v2(device), true);
}

CUresult oomguard_gpu_cuCtxCreate_v2(CUcontext* context, unsigned flags,
                                     CUdevice device) noexcept {
  return make(context, device, [=] { return driver.cuCtxCreate_v2(context, flags, device); });
}

CUresult oomguard_gpu_cuCtxCreate_v3(CUcontext* context, void* affinity, int count, unsigned flags,
                                     CUdevice device) noexcept {
  return make(context, device,
              [=] { return driver.cuCtxCreate_v3(context, affinity, count, flags, device); });
}

CUresult oomguard_gpu_cuCtxCreate_v4(CUcontext* context, void* params, unsigned flags,
                                     CUdevice device) noexcept {
  return make(context, device,
              [=] { return driver.cuCtxCreate_v4(context, params, flags, device); });
}

CUresult oomguard_gpu_cuCtxDestroy_v2(CUcontext context) noexcept {
  const CUresult status = driver.cuCtxDestroy_v2(context);
  if (status != kSuccess) return status;
  end_of_context(reinterpret_cast<uint64_t>(context));
  for (std::atomic<int64_t>& due_ns : g_measure_ns) {  // of whichever card it was
    int64_t before = due_ns.load(kRelaxed);
    if (before != 0) due_ns.compare_exchange_strong(before, kAtOnce, kRelaxed);
  }
  return status;
}

}  // namespace oomguard::gpu

// Hooks of host memory that the driver locks: it is the host's gate that is asked. Locked pages
// cannot be reclaimed, so files count, too.
#include <optional>

#include "shim/budget/gate.h"
#include "shim/budget/need.h"
#include "shim/gpu/driver.h"
#include "shim/gpu/ledger.h"

namespace oomguard::gpu {
namespace {

using budget::Admission;
using record::RequestKind;

bool is_on() noexcept { return budget::gate.mode() == budget::Gate::Mode::kOn; }

// `address()`: of what the driver made, known after it did.
template <typename Call, typename Address>
CUresult judge(Account account, size_t size, size_t need, const void* caller, Call call,
               Address address) noexcept {
  if (!is_on() || thread_state.in_driver != 0) return call();
  std::optional<Admission> admission;
  if (need != 0) admission.emplace(RequestKind::kPinned, need, caller);
  if (need != 0 && !admission->granted()) return kOutOfMemory;
  ++thread_state.in_driver;
  CUresult status;
  {
    const SlowPathScope asked;  // the driver maps what was asked for just now
    status = call();
  }
  --thread_state.in_driver;
  if (status != kSuccess) return status;
  const Table::Entry entry{reinterpret_cast<uint64_t>(address()), static_cast<Bytes>(size), 0, -1,
                           static_cast<uint16_t>(account), 0};
  if (ledger.blocks.put(entry)) ledger.add_host(account, entry.bytes);
  return status;
}

template <typename Call>
CUresult release(const void* address, Call call) noexcept {
  Table::Entry entry;
  const bool known = ledger.blocks.take(reinterpret_cast<uint64_t>(address), &entry);
  const CUresult status = call();
  if (known && (status == kSuccess || !ledger.blocks.put(entry)))
    ledger.add_host(static_cast<Account>(entry.account), -entry.bytes);
  return status;
}

size_t need_to_lock(const void* address, size_t size) noexcept {
  return is_on() ? budget::need_to_fill(address, size, true) : 0;
}

}  // namespace
CUresult oomguard_gpu_cuMemAllocHost_v2(void** address, size_t size) noexcept {
  return judge(
      Account::kPinned, size, size, __builtin_return_address(0),
      [=] { return driver.cuMemAllocHost_v2(address, size); }, [=] { return *address; });
}

CUresult oomguard_gpu_cuMemHostAlloc(void** address, size_t size, unsigned flags) noexcept {
  return judge(
      Account::kPinned, size, size, __builtin_return_address(0),
      [=] { return driver.cuMemHostAlloc(address, size, flags); }, [=] { return *address; });
}

CUresult oomguard_gpu_cuMemFreeHost(void* address) noexcept {
  return release(address, [=] { return driver.cuMemFreeHost(address); });
}

CUresult oomguard_gpu_cuMemHostRegister(void* address, size_t size, unsigned flags) noexcept {
  return judge(
      Account::kRegistered, size, need_to_lock(address, size), __builtin_return_address(0),
      [=] { return driver.cuMemHostRegister(address, size, flags); }, [=] { return address; });
}

CUresult oomguard_gpu_cuMemHostRegister_v2(void* address, size_t size, unsigned flags) noexcept {
  return judge(
      Account::kRegistered, size, need_to_lock(address, size), __builtin_return_address(0),
      [=] { return driver.cuMemHostRegister_v2(address, size, flags); }, [=] { return address; });
}

CUresult oomguard_gpu_cuMemHostUnregister(void* address) noexcept {
  return release(address, [=] { return driver.cuMemHostUnregister(address); });
}

}  // namespace oomguard::gpu

// Hooks of memory without an address (cuMemCreate) and of its mappings. It lives as long as a
// reference to its handle or a mapping does: programs drop the handle as soon as it is mapped.
#include <algorithm>

#include "shim/budget/gate.h"
#include "shim/gpu/budget.h"
#include "shim/gpu/driver.h"

namespace oomguard::gpu {
namespace {

// In an entry's counts; references to the handle are below.
constexpr uint32_t kMapping = 1u << 16;

void uncharge(const Table::Entry& entry) noexcept {
  if (entry.device < 0) {
    ledger.add_host(Account::kPinned, -entry.bytes);
  } else {
    ledger.uncommit(entry.device, Account::kVmm, entry.bytes);
  }
}

// Takes a reference or a mapping away. The last one takes the entry out, which must be done before
// the driver may give the same handle to somebody else.
struct Dropped {
  bool known = false;
  bool last = false;
  Table::Entry entry{};
};
Dropped drop(uint64_t handle, uint32_t what) noexcept {
  Dropped result;
  uint32_t left = 0;
  result.known = ledger.handles.add(handle, 0 - what, &left);
  result.last = result.known && left == 0 && ledger.handles.take(handle, &result.entry);
  return result;
}

void put_back(uint64_t handle, uint32_t what, const Dropped& dropped) noexcept {
  uint32_t now = 0;
  if (!dropped.last) {
    if (dropped.known) (void)ledger.handles.add(handle, what, &now);
    return;
  }
  Table::Entry entry = dropped.entry;
  entry.counts = what;
  if (!ledger.handles.put(entry)) uncharge(entry);
}

// No handle is one of these.
constexpr uint64_t aside(CUdeviceptr address) noexcept { return address | uint64_t{1} << 63; }

// The mappings in a range, each from where the last one ends.
template <typename Visit>
void each_mapping(CUdeviceptr from, size_t size, Visit visit) noexcept {
  Table::Entry mapping;
  for (size_t done = 0; done < size && ledger.mappings.find(from + done, &mapping);) {
    visit(mapping);
    done += static_cast<size_t>(std::max<Bytes>(mapping.bytes, 1));
  }
}

Bytes clamp_size(size_t size) noexcept {
  return static_cast<Bytes>(std::min<size_t>(size, size_t{1} << 60));
}

// Made for the host: its gate is asked.
CUresult create_on_host(CUmemGenericAllocationHandle* handle, size_t size,
                        const CUmemAllocationProp* prop, uint64_t flags,
                        const void* caller) noexcept {
  const budget::Admission admission(record::RequestKind::kPinned, size, caller);
  if (!admission.granted()) return kOutOfMemory;
  const CUresult status = driver.cuMemCreate(handle, size, prop, flags);
  if (status == kSuccess &&
      ledger.handles.put({*handle, clamp_size(size), 1, -1,
                          static_cast<uint16_t>(Account::kPinned), 0})) {
    ledger.add_host(Account::kPinned, clamp_size(size));
  }
  return status;
}

}  // namespace
CUresult oomguard_gpu_cuMemCreate(CUmemGenericAllocationHandle* handle, size_t size,
                                  const CUmemAllocationProp* prop, uint64_t flags) noexcept {
  const void* caller = __builtin_return_address(0);
  const int type = prop != nullptr ? prop->location.type : static_cast<int>(kLocationNone);
  if (type >= kLocationHost && type <= kLocationHostNumaCurrent &&
      budget::gate.mode() == budget::Gate::Mode::kOn) {
    return create_on_host(handle, size, prop, flags, caller);
  }
  const int device = type == kLocationDevice && bind_if_loaded() ? prop->location.id : -1;
  Charge charge(device, Account::kVmm, clamp_size(size), clamp_size(size), caller);
  if (!charge.granted()) return kOutOfMemory;
  const CUresult status = driver.cuMemCreate(handle, size, prop, flags);
  if (status != kSuccess) {
    charge.failed(status);
  } else if (charge.counts() &&
             ledger.handles.put({*handle, clamp_size(size), 1, static_cast<int16_t>(device),
                                 static_cast<uint16_t>(Account::kVmm), 0})) {
    charge.commit(clamp_size(size));
  }
  return status;
}

CUresult oomguard_gpu_cuMemRelease(CUmemGenericAllocationHandle handle) noexcept {
  const Dropped dropped = drop(handle, 1);
  const CUresult status = driver.cuMemRelease(handle);
  if (status != kSuccess) {
    put_back(handle, 1, dropped);
  } else if (dropped.last) {
    uncharge(dropped.entry);
  }
  return status;
}

CUresult oomguard_gpu_cuMemRetainAllocationHandle(CUmemGenericAllocationHandle* handle,
                                                  void* address) noexcept {
  const CUresult status = driver.cuMemRetainAllocationHandle(handle, address);
  uint32_t now = 0;
  if (status == kSuccess) (void)ledger.handles.add(*handle, 1, &now);
  return status;
}

CUresult oomguard_gpu_cuMemMap(CUdeviceptr address, size_t size, size_t offset,
                               CUmemGenericAllocationHandle handle, uint64_t flags) noexcept {
  uint32_t now = 0;
  const bool known = ledger.handles.add(handle, kMapping, &now);
  const CUresult status = driver.cuMemMap(address, size, offset, handle, flags);
  if (!known) return status;
  if (status != kSuccess) {
    (void)ledger.handles.add(handle, 0 - kMapping, &now);  // the caller's reference is left
  } else if (!ledger.mappings.put({address, clamp_size(size), 0, -1,
                                   static_cast<uint16_t>(Account::kNone), handle})) {
    drop(handle, kMapping);
  }
  return status;
}

// A range may hold many mappings. The addresses are the caller's until this call has returned, the
// handles are not: the entry of one that ends stands under its mapping's address meanwhile.
CUresult oomguard_gpu_cuMemUnmap(CUdeviceptr address, size_t size) noexcept {
  each_mapping(address, size, [](const Table::Entry& mapping) {
    Dropped dropped = drop(mapping.context, kMapping);
    dropped.entry.key = aside(mapping.key);
    if (dropped.last && !ledger.handles.put(dropped.entry)) uncharge(dropped.entry);
  });
  const CUresult status = driver.cuMemUnmap(address, size);
  each_mapping(address, size, [status](const Table::Entry& mapping) {
    Dropped dropped{.known = true};
    Table::Entry taken;
    dropped.last = ledger.handles.take(aside(mapping.key), &dropped.entry);
    dropped.entry.key = mapping.context;
    if (status != kSuccess) {
      put_back(mapping.context, kMapping, dropped);
    } else if (ledger.mappings.take(mapping.key, &taken) && dropped.last) {
      uncharge(dropped.entry);
    }
  });
  return status;
}

}  // namespace oomguard::gpu

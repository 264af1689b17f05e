// Hooks of what has an address on a card: plain, pitched and managed memory, and arrays.
#include <algorithm>

#include "shim/gpu/budget.h"
#include "shim/gpu/context.h"
#include "shim/gpu/driver.h"
#include "shim/gpu/shape.h"

namespace oomguard::gpu {
namespace {

uint64_t current_context() noexcept {
  CUcontext context = nullptr;
  if (driver.cuCtxGetCurrent == nullptr || driver.cuCtxGetCurrent(&context) != kSuccess) return 0;
  return reinterpret_cast<uint64_t>(context);
}

// `size_of()`: what the driver gave, known after it did.
template <typename Call, typename Key, typename Size>
CUresult allocate(Table& table, Account account, Bytes size, const void* caller, Call call, Key key,
                  Size size_of) noexcept {
  const int device = current_card();
  Charge charge(device, account, size, size, caller);
  if (!charge.granted()) return kOutOfMemory;
  const CUresult status = call();
  if (status != kSuccess) {
    charge.failed(status);
    return status;
  }
  const Table::Entry entry{key(), size_of(), 0, static_cast<int16_t>(device),
                           static_cast<uint16_t>(account), current_context()};
  // What cannot be found again when it is freed is not counted at all.
  if (charge.counts() && table.put(entry)) charge.commit(entry.bytes);
  return status;
}

void uncharge(const Table::Entry& entry) noexcept {
  const auto account = static_cast<Account>(entry.account);
  if (account == Account::kManaged) {
    ledger.add_managed(entry.device, -entry.bytes);
  } else {
    ledger.uncommit(entry.device, account, entry.bytes);
  }
}

// Taken out first: another thread may be given the same address before this one is back.
template <typename Call>
CUresult release(Table& table, uint64_t key, Call call) noexcept {
  Table::Entry entry;
  const bool known = table.take(key, &entry);
  const CUresult status = call();
  if (!known) return status;
  if (status == kSuccess || !table.put(entry)) uncharge(entry);
  return status;
}

template <typename T>
uint64_t key_of(T* handle) noexcept {
  return reinterpret_cast<uint64_t>(handle);
}

Bytes clamp_size(size_t size) noexcept {
  return static_cast<Bytes>(std::min<size_t>(size, size_t{1} << 60));
}

constexpr size_t kPitch = 512;  // to which rows are rounded up

Bytes pitched(size_t width, size_t height) noexcept {
  size_t row = 0;
  size_t all = 0;
  if (__builtin_add_overflow(width, kPitch - 1, &row) ||
      __builtin_mul_overflow(row / kPitch * kPitch, height, &all)) {
    return clamp_size(SIZE_MAX);
  }
  return clamp_size(all);
}

}  // namespace

void end_of_context(uint64_t context) noexcept {
  if (context == 0) return;
  for (Table* table : {&ledger.blocks, &ledger.arrays}) {
    table->sweep([=](const Table::Entry& entry) { return entry.context == context; }, uncharge);
  }
}

CUresult oomguard_gpu_cuMemAlloc_v2(CUdeviceptr* address, size_t size) noexcept {
  return allocate(
      ledger.blocks, Account::kDevice, clamp_size(size), __builtin_return_address(0),
      [=] { return driver.cuMemAlloc_v2(address, size); }, [=] { return *address; },
      [=] { return clamp_size(size); });
}

CUresult oomguard_gpu_cuMemAllocPitch_v2(CUdeviceptr* address, size_t* pitch, size_t width,
                                         size_t height, unsigned element) noexcept {
  return allocate(
      ledger.blocks, Account::kDevice, pitched(width, height), __builtin_return_address(0),
      [=] { return driver.cuMemAllocPitch_v2(address, pitch, width, height, element); },
      [=] { return *address; }, [=] { return clamp_size(*pitch * height); });
}

CUresult oomguard_gpu_cuMemAllocManaged(CUdeviceptr* address, size_t size,
                                        unsigned flags) noexcept {
  return allocate(
      ledger.blocks, Account::kManaged, clamp_size(size), __builtin_return_address(0),
      [=] { return driver.cuMemAllocManaged(address, size, flags); }, [=] { return *address; },
      [=] { return clamp_size(size); });
}

CUresult oomguard_gpu_cuMemFree_v2(CUdeviceptr address) noexcept {
  return release(ledger.blocks, address, [=] { return driver.cuMemFree_v2(address); });
}

CUresult oomguard_gpu_cuMemFreeAsync(CUdeviceptr address, CUstream stream) noexcept {
  return release(ledger.blocks, address, [=] { return driver.cuMemFreeAsync(address, stream); });
}

CUresult oomguard_gpu_cuMemFreeAsync_ptsz(CUdeviceptr address, CUstream stream) noexcept {
  return release(ledger.blocks, address,
                 [=] { return driver.cuMemFreeAsync_ptsz(address, stream); });
}

CUresult oomguard_gpu_cuArrayCreate_v2(CUarray* array, const CUarrayDescriptor* shape) noexcept {
  const Bytes size = size_of(shape);
  return allocate(
      ledger.arrays, Account::kArray, size, __builtin_return_address(0),
      [=] { return driver.cuArrayCreate_v2(array, shape); }, [=] { return key_of(*array); },
      [=] { return size; });
}

CUresult oomguard_gpu_cuArray3DCreate_v2(CUarray* array,
                                         const CUarray3DDescriptor* shape) noexcept {
  const Bytes size = size_of(shape, 1);
  return allocate(
      ledger.arrays, Account::kArray, size, __builtin_return_address(0),
      [=] { return driver.cuArray3DCreate_v2(array, shape); }, [=] { return key_of(*array); },
      [=] { return size; });
}

CUresult oomguard_gpu_cuArrayDestroy(CUarray array) noexcept {
  return release(ledger.arrays, key_of(array), [=] { return driver.cuArrayDestroy(array); });
}

CUresult oomguard_gpu_cuMipmappedArrayCreate(CUmipmappedArray* array,
                                             const CUarray3DDescriptor* shape,
                                             unsigned levels) noexcept {
  const Bytes size = size_of(shape, levels);
  return allocate(
      ledger.arrays, Account::kArray, size, __builtin_return_address(0),
      [=] { return driver.cuMipmappedArrayCreate(array, shape, levels); },
      [=] { return key_of(*array); }, [=] { return size; });
}

CUresult oomguard_gpu_cuMipmappedArrayDestroy(CUmipmappedArray array) noexcept {
  return release(ledger.arrays, key_of(array),
                 [=] { return driver.cuMipmappedArrayDestroy(array); });
}

}  // namespace oomguard::gpu

// Virtual memory management, and what comes from elsewhere: IPC, shareable handles, external
// memory.
#include <cstring>
#include <set>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/gpu/fake/arena.h"

namespace fake {
namespace {

struct Handle {
  CUmemAllocationProp props;
  uint64_t bytes;
  bool imported;
  int references = 1, mappings = 0;
};

struct Mapping {
  Handle* handle;
  uint64_t bytes;
};

struct External {
  uint64_t bytes;
};

// What an IPC handle of the fake says.
struct Ipc {
  CUdeviceptr address;
  uint64_t bytes;
};

std::map<CUdeviceptr, Mapping> mappings;  // under the world's mutex
std::set<Handle*> handles;

bool on_device(const Handle& handle) {
  return handle.props.location.type == CU_MEM_LOCATION_TYPE_DEVICE;
}

// Needs the mutex.
Handle* as_handle(CUmemGenericAllocationHandle handle) {
  const auto found = handles.find(reinterpret_cast<Handle*>(handle));
  if (found == handles.end() || (*found)->references == 0) stale("a memory handle");
  return *found;
}

CUmemGenericAllocationHandle add(Handle* handle) {
  const std::lock_guard lock(world().mutex);
  handles.insert(handle);
  return reinterpret_cast<CUmemGenericAllocationHandle>(handle);
}

// Memory lives as long as a handle or a mapping does.
void end_if_unused(Handle* handle) {
  if (handle->references > 0 || handle->mappings > 0) return;
  if (!handle->imported && on_device(*handle)) {
    give(handle->props.location.id, FAKE_CUDA_VMM, handle->bytes);
  }
  handles.erase(handle);
  delete handle;
}

CUresult import_block(CUdeviceptr* out, uint64_t bytes) {
  if (current() == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  const std::lock_guard lock(world().mutex);
  *out = make_address(bytes);
  world().blocks[*out] = {FAKE_CUDA_DEVICE, current()->device, bytes, current(), nullptr, true};
  return CUDA_SUCCESS;
}

CUresult open_ipc(CUdeviceptr* out, const CUipcMemHandle& from) {
  Ipc ipc;
  memcpy(&ipc, from.reserved, sizeof ipc);
  return import_block(out, ipc.bytes);
}

}  // namespace
}  // namespace fake

using namespace fake;

extern "C" {

CUresult cuMemAddressReserve(CUdeviceptr* out, size_t bytes, size_t, CUdeviceptr,
                             unsigned long long) {
  FAKE_CUDA_ENTER(cuMemAddressReserve);
  if (bytes == 0 || bytes % kVmmGranularity != 0) return CUDA_ERROR_INVALID_VALUE;
  const std::lock_guard lock(world().mutex);
  *out = make_address(bytes);
  world().blocks[*out] = {FAKE_CUDA_VMM, 0, bytes, nullptr, nullptr, false, true};
  return CUDA_SUCCESS;
}

CUresult cuMemAddressFree(CUdeviceptr address, size_t bytes) {
  FAKE_CUDA_ENTER(cuMemAddressFree);
  const std::lock_guard lock(world().mutex);
  if (world().blocks.erase(address) == 0) return CUDA_ERROR_INVALID_VALUE;
  drop_address(address, bytes);
  return CUDA_SUCCESS;
}

CUresult cuMemCreate(CUmemGenericAllocationHandle* out, size_t bytes,
                     const CUmemAllocationProp* props, unsigned long long) {
  FAKE_CUDA_ENTER(cuMemCreate);
  if (bytes == 0 || bytes % kVmmGranularity != 0) return CUDA_ERROR_INVALID_VALUE;
  auto* handle = new Handle{*props, bytes, false};
  if (on_device(*handle) && (!ordinal_ok(props->location.id) ||
                             !take(props->location.id, FAKE_CUDA_VMM, bytes))) {
    delete handle;
    return ordinal_ok(props->location.id) ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_INVALID_DEVICE;
  }
  *out = add(handle);
  return CUDA_SUCCESS;
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle) {
  FAKE_CUDA_ENTER(cuMemRelease);
  if (handle == 0) return CUDA_ERROR_INVALID_VALUE;
  const std::lock_guard lock(world().mutex);
  Handle* const released = as_handle(handle);
  --released->references;
  end_if_unused(released);
  return CUDA_SUCCESS;
}

CUresult cuMemMap(CUdeviceptr address, size_t bytes, size_t, CUmemGenericAllocationHandle handle,
                  unsigned long long) {
  FAKE_CUDA_ENTER(cuMemMap);
  if (handle == 0) return CUDA_ERROR_INVALID_VALUE;
  const std::lock_guard lock(world().mutex);
  if (!mappings.emplace(address, Mapping{as_handle(handle), bytes}).second) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  ++as_handle(handle)->mappings;
  return CUDA_SUCCESS;
}

CUresult cuMemUnmap(CUdeviceptr address, size_t bytes) {
  FAKE_CUDA_ENTER(cuMemUnmap);
  const std::lock_guard lock(world().mutex);
  auto first = mappings.lower_bound(address);
  if (first == mappings.end() || first->first != address) return CUDA_ERROR_INVALID_VALUE;
  while (first != mappings.end() && first->first < address + bytes) {
    Handle* handle = first->second.handle;
    --handle->mappings;
    end_if_unused(handle);
    first = mappings.erase(first);
  }
  return CUDA_SUCCESS;
}

CUresult cuMemSetAccess(CUdeviceptr, size_t, const CUmemAccessDesc*, size_t) {
  FAKE_CUDA_ENTER(cuMemSetAccess);
  return CUDA_SUCCESS;
}

CUresult cuMemGetAllocationGranularity(size_t* out, const CUmemAllocationProp*,
                                       CUmemAllocationGranularity_flags) {
  FAKE_CUDA_ENTER(cuMemGetAllocationGranularity);
  *out = kVmmGranularity;
  return CUDA_SUCCESS;
}

CUresult cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp* out,
                                                CUmemGenericAllocationHandle handle) {
  FAKE_CUDA_ENTER(cuMemGetAllocationPropertiesFromHandle);
  const std::lock_guard lock(world().mutex);
  *out = as_handle(handle)->props;
  return CUDA_SUCCESS;
}

CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle* out, void* address) {
  FAKE_CUDA_ENTER(cuMemRetainAllocationHandle);
  const std::lock_guard lock(world().mutex);
  auto after = mappings.upper_bound(reinterpret_cast<CUdeviceptr>(address));
  if (after == mappings.begin()) return CUDA_ERROR_INVALID_VALUE;
  const auto& [start, mapping] = *--after;
  if (reinterpret_cast<CUdeviceptr>(address) >= start + mapping.bytes) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  ++mapping.handle->references;
  *out = reinterpret_cast<CUmemGenericAllocationHandle>(mapping.handle);
  return CUDA_SUCCESS;
}

CUresult cuMemExportToShareableHandle(void* out, CUmemGenericAllocationHandle handle,
                                      CUmemAllocationHandleType type, unsigned long long) {
  FAKE_CUDA_ENTER(cuMemExportToShareableHandle);
  if (type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) return CUDA_ERROR_NOT_SUPPORTED;
  const int fd = static_cast<int>(syscall(SYS_memfd_create, "fake_cuda", MFD_CLOEXEC));
  std::unique_lock lock(world().mutex);
  const uint64_t bytes = as_handle(handle)->bytes;
  lock.unlock();
  if (syscall(SYS_pwrite64, fd, &bytes, sizeof bytes, 0L) != sizeof bytes) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  *static_cast<int*>(out) = fd;
  return CUDA_SUCCESS;
}

CUresult cuMemImportFromShareableHandle(CUmemGenericAllocationHandle* out, void* from,
                                        CUmemAllocationHandleType type) {
  FAKE_CUDA_ENTER(cuMemImportFromShareableHandle);
  uint64_t bytes = 0;
  if (type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR ||
      pread(static_cast<int>(reinterpret_cast<intptr_t>(from)), &bytes, sizeof bytes, 0) !=
          sizeof bytes) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  CUmemAllocationProp props = {};
  props.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  props.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  *out = add(new Handle{props, bytes, true});
  return CUDA_SUCCESS;
}

CUresult cuIpcGetMemHandle(CUipcMemHandle* out, CUdeviceptr address) {
  FAKE_CUDA_ENTER(cuIpcGetMemHandle);
  const std::lock_guard lock(world().mutex);
  const auto found = world().blocks.find(address);
  if (found == world().blocks.end()) return CUDA_ERROR_INVALID_VALUE;
  const Ipc ipc{address, found->second.bytes};
  memcpy(out->reserved, &ipc, sizeof ipc);
  return CUDA_SUCCESS;
}

CUresult cuIpcOpenMemHandle(CUdeviceptr* out, CUipcMemHandle from, unsigned) {
  FAKE_CUDA_ENTER(cuIpcOpenMemHandle);
  return open_ipc(out, from);
}

CUresult cuIpcOpenMemHandle_v2(CUdeviceptr* out, CUipcMemHandle from, unsigned) {
  FAKE_CUDA_ENTER(cuIpcOpenMemHandle_v2);
  return open_ipc(out, from);
}

CUresult cuIpcCloseMemHandle(CUdeviceptr address) {
  FAKE_CUDA_ENTER(cuIpcCloseMemHandle);
  const std::lock_guard lock(world().mutex);
  const auto found = world().blocks.find(address);
  if (found == world().blocks.end() || !found->second.imported) return CUDA_ERROR_INVALID_VALUE;
  drop_address(address, found->second.bytes);
  world().blocks.erase(found);
  return CUDA_SUCCESS;
}

CUresult cuImportExternalMemory(CUexternalMemory* out,
                                const CUDA_EXTERNAL_MEMORY_HANDLE_DESC* from) {
  FAKE_CUDA_ENTER(cuImportExternalMemory);
  *out = reinterpret_cast<CUexternalMemory>(new External{from->size});
  return CUDA_SUCCESS;
}

CUresult cuExternalMemoryGetMappedBuffer(CUdeviceptr* out, CUexternalMemory,
                                         const CUDA_EXTERNAL_MEMORY_BUFFER_DESC* buffer) {
  FAKE_CUDA_ENTER(cuExternalMemoryGetMappedBuffer);
  return import_block(out, buffer->size);
}

CUresult cuDestroyExternalMemory(CUexternalMemory memory) {
  FAKE_CUDA_ENTER(cuDestroyExternalMemory);
  delete reinterpret_cast<External*>(memory);
  return CUDA_SUCCESS;
}

}  // extern "C"

// Device, managed, page-locked and registered memory, and arrays.
#include <unistd.h>

#include "tests/gpu/fake/arena.h"

namespace fake {
namespace {

std::map<void*, uint64_t> host_blocks, registered;  // under the world's mutex
std::atomic<uint64_t> host_bytes, registered_bytes;

struct Array {
  CUdevice device;
  uint64_t bytes;
};

CUresult allocate(CUdeviceptr* out, uint64_t bytes, fake_cuda_kind kind, bool low) {
  Context* context = current();
  if (context == nullptr || context->device < 0) return CUDA_ERROR_INVALID_CONTEXT;
  if (out == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  if (!take(context->device, kind, bytes)) return CUDA_ERROR_OUT_OF_MEMORY;
  const std::lock_guard lock(world().mutex);
  const CUdeviceptr address = kind == FAKE_CUDA_MANAGED
                                  ? reinterpret_cast<CUdeviceptr>(map_host(bytes))
                                  : make_address(bytes, low);
  world().blocks[address] = {kind, context->device, bytes, context};
  *out = address;
  return CUDA_SUCCESS;
}

CUresult allocate_host(void** out, uint64_t bytes) {
  if (current() == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  if (out == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  void* place = map_host(bytes);
  if (place == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
  wait_as_told();
  const std::lock_guard lock(world().mutex);
  host_blocks[place] = bytes;
  host_bytes += bytes;
  *out = place;
  return CUDA_SUCCESS;
}

CUresult register_host(void* pointer, uint64_t bytes) {
  if (pointer == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  const std::lock_guard lock(world().mutex);
  if (!registered.emplace(pointer, bytes).second) {
    return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
  }
  registered_bytes += bytes;
  return CUDA_SUCCESS;
}

uint64_t bytes_of(CUarray_format format) {
  switch (format) {
    case CU_AD_FORMAT_UNSIGNED_INT8:
    case CU_AD_FORMAT_SIGNED_INT8: return 1;
    case CU_AD_FORMAT_UNSIGNED_INT16:
    case CU_AD_FORMAT_SIGNED_INT16:
    case CU_AD_FORMAT_HALF: return 2;
    default: return 4;
  }
}

template <typename Out>
CUresult allocate_array(Out* out, const CUDA_ARRAY3D_DESCRIPTOR& d, unsigned levels = 1) {
  Context* context = current();
  if (context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  if (out == nullptr || d.Width == 0) return CUDA_ERROR_INVALID_VALUE;
  uint64_t bytes = 0;
  for (unsigned level = 0; level < levels; ++level) {
    const auto side = [level](uint64_t full) { return std::max<uint64_t>(full >> level, 1); };
    bytes += side(d.Width) * side(d.Height) * side(d.Depth) * bytes_of(d.Format) * d.NumChannels;
  }
  if (!take(context->device, FAKE_CUDA_ARRAY, bytes)) return CUDA_ERROR_OUT_OF_MEMORY;
  auto* array = new Array{context->device, bytes};
  const std::lock_guard lock(world().mutex);
  world().blocks[reinterpret_cast<CUdeviceptr>(array)] = {FAKE_CUDA_ARRAY, context->device, bytes,
                                                         context};
  *out = reinterpret_cast<Out>(array);
  return CUDA_SUCCESS;
}

CUresult free_array(void* handle) {
  const std::lock_guard lock(world().mutex);
  const auto found = world().blocks.find(reinterpret_cast<CUdeviceptr>(handle));
  if (found == world().blocks.end()) return CUDA_ERROR_INVALID_HANDLE;
  give(found->second.device, FAKE_CUDA_ARRAY, found->second.bytes);
  world().blocks.erase(found);
  delete static_cast<Array*>(handle);
  return CUDA_SUCCESS;
}

}  // namespace

CUresult free_block(CUdeviceptr address) {
  if (address == 0) return CUDA_SUCCESS;
  const std::lock_guard lock(world().mutex);
  const auto found = world().blocks.find(address);
  if (found == world().blocks.end() || found->second.imported || found->second.reserved_only) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const Block block = found->second;
  world().blocks.erase(found);
  if (block.kind == FAKE_CUDA_POOL) {
    pool_free(block);
  } else {
    give(block.device, block.kind, block.bytes);
  }
  if (block.kind == FAKE_CUDA_MANAGED) {
    unmap_host(reinterpret_cast<void*>(address), block.bytes);
  } else {
    drop_address(address, block.bytes);
  }
  return CUDA_SUCCESS;
}

}  // namespace fake

using namespace fake;

extern "C" {

uint64_t fake_cuda_host(int of_registered) { return of_registered ? registered_bytes : host_bytes; }

CUresult cuMemGetInfo_v2(size_t* free, size_t* total) {
  FAKE_CUDA_ENTER(cuMemGetInfo_v2);
  if (current() == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  const Card& card = cards().cards[visible().at(current()->device)];
  if (free != nullptr) *free = card.bytes - std::min<uint64_t>(card.held, card.bytes);
  if (total != nullptr) *total = card.bytes;
  return CUDA_SUCCESS;
}

CUresult cuMemGetInfo(unsigned* free, unsigned* total) {
  FAKE_CUDA_ENTER(cuMemGetInfo);
  if (current() == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  const Card& card = cards().cards[visible().at(current()->device)];
  *free = std::min<uint64_t>(card.bytes - std::min<uint64_t>(card.held, card.bytes), UINT32_MAX);
  *total = std::min<uint64_t>(card.bytes, UINT32_MAX);
  return CUDA_SUCCESS;
}

CUresult cuMemAlloc_v2(CUdeviceptr* out, size_t bytes) {
  FAKE_CUDA_ENTER(cuMemAlloc_v2);
  return allocate(out, bytes, FAKE_CUDA_DEVICE, false);
}

CUresult cuMemAlloc(CUdeviceptr_v1* out, unsigned bytes) {
  FAKE_CUDA_ENTER(cuMemAlloc);
  CUdeviceptr address = 0;
  const CUresult status = allocate(&address, bytes, FAKE_CUDA_DEVICE, true);
  if (status == CUDA_SUCCESS) *out = static_cast<CUdeviceptr_v1>(address);
  return status;
}

CUresult cuMemAllocPitch_v2(CUdeviceptr* out, size_t* pitch, size_t width, size_t height,
                            unsigned) {
  FAKE_CUDA_ENTER(cuMemAllocPitch_v2);
  *pitch = round_up(width, 512);
  return allocate(out, *pitch * height, FAKE_CUDA_DEVICE, false);
}

CUresult cuMemAllocPitch(CUdeviceptr_v1* out, unsigned* pitch, unsigned width, unsigned height,
                         unsigned) {
  FAKE_CUDA_ENTER(cuMemAllocPitch);
  *pitch = round_up(width, 512);
  CUdeviceptr address = 0;
  const CUresult status = allocate(&address, uint64_t{*pitch} * height, FAKE_CUDA_DEVICE, true);
  if (status == CUDA_SUCCESS) *out = static_cast<CUdeviceptr_v1>(address);
  return status;
}

CUresult cuMemAllocManaged(CUdeviceptr* out, size_t bytes, unsigned flags) {
  FAKE_CUDA_ENTER(cuMemAllocManaged);
  if (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST) return CUDA_ERROR_INVALID_VALUE;
  return allocate(out, bytes, FAKE_CUDA_MANAGED, false);
}

CUresult cuMemFree_v2(CUdeviceptr address) {
  FAKE_CUDA_ENTER(cuMemFree_v2);
  return free_block(address);
}

CUresult cuMemFree(CUdeviceptr_v1 address) {
  FAKE_CUDA_ENTER(cuMemFree);
  return free_block(address);
}

CUresult cuMemGetAddressRange_v2(CUdeviceptr* base, size_t* bytes, CUdeviceptr address) {
  FAKE_CUDA_ENTER(cuMemGetAddressRange_v2);
  const std::lock_guard lock(world().mutex);
  auto after = world().blocks.upper_bound(address);
  if (after == world().blocks.begin()) return CUDA_ERROR_NOT_FOUND;
  const auto& [start, block] = *--after;
  if (address >= start + block.bytes) return CUDA_ERROR_NOT_FOUND;
  if (base != nullptr) *base = start;
  if (bytes != nullptr) *bytes = block.bytes;
  return CUDA_SUCCESS;
}

CUresult cuPointerGetAttribute(void* out, CUpointer_attribute attribute, CUdeviceptr address) {
  FAKE_CUDA_ENTER(cuPointerGetAttribute);
  const std::lock_guard lock(world().mutex);
  auto after = world().blocks.upper_bound(address);
  if (after == world().blocks.begin()) return CUDA_ERROR_INVALID_VALUE;
  const auto& [start, block] = *--after;
  if (address >= start + block.bytes) return CUDA_ERROR_INVALID_VALUE;
  if (attribute != CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL) return CUDA_ERROR_NOT_SUPPORTED;
  *static_cast<int*>(out) = block.device;
  return CUDA_SUCCESS;
}

CUresult cuMemAllocHost_v2(void** out, size_t bytes) {
  FAKE_CUDA_ENTER(cuMemAllocHost_v2);
  return allocate_host(out, bytes);
}

CUresult cuMemAllocHost(void** out, unsigned bytes) {
  FAKE_CUDA_ENTER(cuMemAllocHost);
  return allocate_host(out, bytes);
}

CUresult cuMemHostAlloc(void** out, size_t bytes, unsigned) {
  FAKE_CUDA_ENTER(cuMemHostAlloc);
  return allocate_host(out, bytes);
}

CUresult cuMemFreeHost(void* pointer) {
  FAKE_CUDA_ENTER(cuMemFreeHost);
  const std::lock_guard lock(world().mutex);
  const auto found = host_blocks.find(pointer);
  if (found == host_blocks.end()) return CUDA_ERROR_INVALID_VALUE;
  host_bytes -= found->second;
  unmap_host(pointer, found->second);
  host_blocks.erase(found);
  return CUDA_SUCCESS;
}

CUresult cuMemHostRegister_v2(void* pointer, size_t bytes, unsigned) {
  FAKE_CUDA_ENTER(cuMemHostRegister_v2);
  return register_host(pointer, bytes);
}

CUresult cuMemHostRegister(void* pointer, size_t bytes, unsigned) {
  FAKE_CUDA_ENTER(cuMemHostRegister);
  return register_host(pointer, bytes);
}

CUresult cuMemHostUnregister(void* pointer) {
  FAKE_CUDA_ENTER(cuMemHostUnregister);
  const std::lock_guard lock(world().mutex);
  const auto found = registered.find(pointer);
  if (found == registered.end()) return CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
  registered_bytes -= found->second;
  registered.erase(found);
  return CUDA_SUCCESS;
}

CUresult cuArrayCreate_v2(CUarray* out, const CUDA_ARRAY_DESCRIPTOR* d) {
  FAKE_CUDA_ENTER(cuArrayCreate_v2);
  return allocate_array(out, {d->Width, d->Height, 0, d->Format, d->NumChannels, 0});
}

CUresult cuArrayCreate(CUarray* out, const CUDA_ARRAY_DESCRIPTOR_v1* d) {
  FAKE_CUDA_ENTER(cuArrayCreate);
  return allocate_array(out, {d->Width, d->Height, 0, d->Format, d->NumChannels, 0});
}

CUresult cuArray3DCreate_v2(CUarray* out, const CUDA_ARRAY3D_DESCRIPTOR* d) {
  FAKE_CUDA_ENTER(cuArray3DCreate_v2);
  return allocate_array(out, *d);
}

CUresult cuArray3DCreate(CUarray* out, const CUDA_ARRAY3D_DESCRIPTOR_v1* d) {
  FAKE_CUDA_ENTER(cuArray3DCreate);
  return allocate_array(out, {d->Width, d->Height, d->Depth, d->Format, d->NumChannels, d->Flags});
}

CUresult cuArrayDestroy(CUarray array) {
  FAKE_CUDA_ENTER(cuArrayDestroy);
  return free_array(array);
}

CUresult cuArrayGetMemoryRequirements(CUDA_ARRAY_MEMORY_REQUIREMENTS*, CUarray, CUdevice) {
  FAKE_CUDA_ENTER(cuArrayGetMemoryRequirements);
  return CUDA_ERROR_INVALID_VALUE;  // as for every array that is not mapped later
}

CUresult cuMipmappedArrayCreate(CUmipmappedArray* out, const CUDA_ARRAY3D_DESCRIPTOR* d,
                                unsigned levels) {
  FAKE_CUDA_ENTER(cuMipmappedArrayCreate);
  return allocate_array(out, *d, levels);
}

CUresult cuMipmappedArrayDestroy(CUmipmappedArray array) {
  FAKE_CUDA_ENTER(cuMipmappedArrayDestroy);
  return free_array(array);
}

}  // extern "C"

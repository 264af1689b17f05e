#include "tests/gpu/routes/families.h"

#include <sys/mman.h>

namespace routes {
namespace {

constexpr size_t kMiB = 1 << 20;
#define OUT(type) (t != nullptr ? reinterpret_cast<type*>(&t->a) : nullptr)

CUresult drop_linear(const Api& api, Taken* t) { return CALL(api, cuMemFree_v2)(t->a); }

CUresult take_alloc(const Api& api, size_t bytes, Taken* t) {
  return CALL(api, cuMemAlloc_v2)(OUT(CUdeviceptr), bytes);
}

CUresult take_pitch(const Api& api, size_t bytes, Taken* t) {
  return CALL(api, cuMemAllocPitch_v2)(OUT(CUdeviceptr), &t->b, 4096, bytes / 4096, 4);
}

CUresult take_managed(const Api& api, size_t bytes, Taken* t) {
  return CALL(api, cuMemAllocManaged)(OUT(CUdeviceptr), bytes, CU_MEM_ATTACH_GLOBAL);
}

CUresult take_host(const Api& api, size_t bytes, Taken* t) {
  return CALL(api, cuMemHostAlloc)(OUT(void*), bytes, 0);
}

CUresult take_host_2(const Api& api, size_t bytes, Taken* t) {
  return CALL(api, cuMemAllocHost_v2)(OUT(void*), bytes);
}

CUresult drop_host(const Api& api, Taken* t) {
  return CALL(api, cuMemFreeHost)(reinterpret_cast<void*>(t->a));
}

CUresult take_registered(const Api& api, size_t bytes, Taken* t) {
  t->bytes = bytes != 0 ? bytes : kMiB;
  void* place = mmap(nullptr, t->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  t->a = reinterpret_cast<uint64_t>(place);
  const CUresult status = CALL(api, cuMemHostRegister_v2)(place, bytes, 0);
  if (status != CUDA_SUCCESS) munmap(place, t->bytes);
  return status;
}

CUresult drop_registered(const Api& api, Taken* t) {
  void* place = reinterpret_cast<void*>(t->a);
  const CUresult status = CALL(api, cuMemHostUnregister)(place);
  munmap(place, t->bytes);
  return status;
}

CUresult take_array(const Api& api, size_t bytes, Taken* t) {
  const CUDA_ARRAY_DESCRIPTOR d = {bytes / 4096, 1024, CU_AD_FORMAT_FLOAT, 1};
  return CALL(api, cuArrayCreate_v2)(OUT(CUarray), &d);
}

CUresult take_array_3d(const Api& api, size_t bytes, Taken* t) {
  const CUDA_ARRAY3D_DESCRIPTOR d = {bytes / 4096, 32, 32, CU_AD_FORMAT_HALF, 2, 0};
  return CALL(api, cuArray3DCreate_v2)(OUT(CUarray), &d);
}

CUresult drop_array(const Api& api, Taken* t) {
  return CALL(api, cuArrayDestroy)(reinterpret_cast<CUarray>(t->a));
}

CUresult take_mipmapped(const Api& api, size_t bytes, Taken* t) {
  const CUDA_ARRAY3D_DESCRIPTOR d = {bytes / 4096, 1024, 0, CU_AD_FORMAT_FLOAT, 1, 0};
  return CALL(api, cuMipmappedArrayCreate)(OUT(CUmipmappedArray), &d, 3);
}

CUresult drop_mipmapped(const Api& api, Taken* t) {
  return CALL(api, cuMipmappedArrayDestroy)(reinterpret_cast<CUmipmappedArray>(t->a));
}

// Freed memory of a pool goes back to the card when its stream is waited for.
CUresult wait_after(const Api& api, CUresult status) {
  CALL(api, cuStreamSynchronize)(nullptr);
  return status;
}

CUresult take_async(const Api& api, size_t bytes, Taken* t) {
  return CALL(api, cuMemAllocAsync)(OUT(CUdeviceptr), bytes, nullptr);
}

CUresult drop_async(const Api& api, Taken* t) {
  return wait_after(api, CALL(api, cuMemFreeAsync)(t->a, nullptr));
}

CUresult take_async_ptsz(const Api& api, size_t bytes, Taken* t) {
  return CALL(api, cuMemAllocAsync_ptsz)(OUT(CUdeviceptr), bytes, nullptr);
}

CUresult drop_async_ptsz(const Api& api, Taken* t) {
  return wait_after(api, CALL(api, cuMemFreeAsync_ptsz)(t->a, nullptr));
}

template <typename Allocate>
CUresult take_from_new_pool(const Api& api, size_t bytes, Taken* t, Allocate allocate) {
  CUmemPoolProps props = {};
  props.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
  props.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  CUmemoryPool pool = nullptr;
  CUresult status = CALL(api, cuMemPoolCreate)(&pool, &props);
  if (status != CUDA_SUCCESS) return status;
  status = allocate(&t->a, bytes, pool, nullptr);
  if (status == CUDA_SUCCESS) {
    t->b = reinterpret_cast<uint64_t>(pool);
  } else {
    CALL(api, cuMemPoolDestroy)(pool);
  }
  return status;
}

CUresult take_from_pool(const Api& api, size_t bytes, Taken* t) {
  return take_from_new_pool(api, bytes, t, [&](auto*, size_t n, CUmemoryPool pool, CUstream s) {
    return CALL(api, cuMemAllocFromPoolAsync)(OUT(CUdeviceptr), n, pool, s);
  });
}

CUresult take_from_pool_ptsz(const Api& api, size_t bytes, Taken* t) {
  return take_from_new_pool(api, bytes, t, [&](auto*, size_t n, CUmemoryPool pool, CUstream s) {
    return CALL(api, cuMemAllocFromPoolAsync_ptsz)(OUT(CUdeviceptr), n, pool, s);
  });
}

CUresult drop_pool(const Api& api, Taken* t) {
  const CUresult status = CALL(api, cuMemFreeAsync)(t->a, nullptr);
  CALL(api, cuMemPoolDestroy)(reinterpret_cast<CUmemoryPool>(t->b));
  return status;
}

CUresult take_handle(const Api& api, size_t bytes, Taken* t) {
  CUmemAllocationProp props = {};
  props.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  props.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  return CALL(api, cuMemCreate)(OUT(CUmemGenericAllocationHandle), bytes, &props, 0);
}

CUresult drop_handle(const Api& api, Taken* t) { return CALL(api, cuMemRelease)(t->a); }

// As PyTorch's expandable segments keep it mapped, and as llama.cpp lets the handle go at once.
CUresult take_mapped(const Api& api, size_t bytes, Taken* t) {
  const CUresult status = take_handle(api, bytes, t);
  if (status != CUDA_SUCCESS) return status;
  t->bytes = bytes;
  CUdeviceptr place = 0;
  CALL(api, cuMemAddressReserve)(&place, bytes, 0, 0, 0);
  CALL(api, cuMemMap)(place, bytes, 0, t->a, 0);
  t->b = place;
  return CALL(api, cuMemRelease)(t->a);
}

CUresult drop_mapped(const Api& api, Taken* t) {
  const CUresult status = CALL(api, cuMemUnmap)(t->b, t->bytes);
  CALL(api, cuMemAddressFree)(t->b, t->bytes);
  return status;
}

CUresult launch_new(const Api& api, CUgraph graph, Taken* t) {
  CUgraphExec exec = nullptr;
  CUresult status = CALL(api, cuGraphInstantiateWithFlags)(&exec, graph, 0);
  if (status == CUDA_SUCCESS) status = CALL(api, cuGraphLaunch)(exec, nullptr);
  if (status != CUDA_SUCCESS && exec != nullptr) CALL(api, cuGraphExecDestroy)(exec);
  CALL(api, cuGraphDestroy)(graph);
  t->a = reinterpret_cast<uint64_t>(exec);
  return status;
}

CUresult take_graph(const Api& api, size_t bytes, Taken* t) {
  CUgraph graph = nullptr;
  CUgraphNode node = nullptr;
  CUDA_MEM_ALLOC_NODE_PARAMS params = {};
  params.poolProps.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  params.bytesize = bytes;
  CALL(api, cuGraphCreate)(&graph, 0);
  const CUresult status = CALL(api, cuGraphAddMemAllocNode)(&node, graph, nullptr, 0, &params);
  if (status != CUDA_SUCCESS) return status;
  return launch_new(api, graph, t);
}

CUresult take_captured(const Api& api, size_t bytes, Taken* t) {
  CUstream stream = nullptr;
  CUgraph graph = nullptr;
  CUdeviceptr address = 0;
  CALL(api, cuStreamCreate)(&stream, 0);
  CALL(api, cuStreamBeginCapture_v2)(stream, CU_STREAM_CAPTURE_MODE_GLOBAL);
  const CUresult status = CALL(api, cuMemAllocAsync)(&address, bytes, stream);
  CALL(api, cuStreamEndCapture)(stream, &graph);
  CALL(api, cuStreamDestroy_v2)(stream);
  if (status != CUDA_SUCCESS) return status;
  return launch_new(api, graph, t);
}

CUresult drop_graph(const Api& api, Taken* t) {
  const CUresult status = CALL(api, cuGraphExecDestroy)(reinterpret_cast<CUgraphExec>(t->a));
  CALL(api, cuDeviceGraphMemTrim)(0);
  return status;
}

}  // namespace

const std::vector<Family>& families() {
  static const std::vector<Family> all = {
      {"alloc", Id::cuMemAlloc_v2, take_alloc, drop_linear, true, true, 1},
      {"pitch", Id::cuMemAllocPitch_v2, take_pitch, drop_linear, false, true, 4096},
      {"managed", Id::cuMemAllocManaged, take_managed, drop_linear, true, false, 1},
      {"host", Id::cuMemHostAlloc, take_host, drop_host, true, false, 1},
      {"host-2", Id::cuMemAllocHost_v2, take_host_2, drop_host, true, false, 1},
      {"registered", Id::cuMemHostRegister_v2, take_registered, drop_registered, false, false,
       4096},
      {"array", Id::cuArrayCreate_v2, take_array, drop_array, true, true, 4096},
      {"array-3d", Id::cuArray3DCreate_v2, take_array_3d, drop_array, true, true, 4096},
      {"mipmapped", Id::cuMipmappedArrayCreate, take_mipmapped, drop_mipmapped, true, true, 4096},
      {"async", Id::cuMemAllocAsync, take_async, drop_async, true, true, 1},
      {"async-ptsz", Id::cuMemAllocAsync_ptsz, take_async_ptsz, drop_async_ptsz, true, true, 1},
      {"pool", Id::cuMemAllocFromPoolAsync, take_from_pool, drop_pool, false, true, 1},
      {"pool-ptsz", Id::cuMemAllocFromPoolAsync_ptsz, take_from_pool_ptsz, drop_pool, false, true,
       1},
      {"handle", Id::cuMemCreate, take_handle, drop_handle, false, true, 2 * kMiB},
      {"mapped", Id::cuMemCreate, take_mapped, drop_mapped, false, true, 2 * kMiB},
      {"graph", Id::cuGraphLaunch, take_graph, drop_graph, false, true, 1},
      {"captured", Id::cuGraphLaunch, take_captured, drop_graph, false, true, 1},
  };
  return all;
}

}  // namespace routes

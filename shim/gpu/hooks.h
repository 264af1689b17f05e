// The hooks of driver.def, one for each symbol: what cuGetProcAddress and dlsym answer in place of
// the driver's function, and where the exported names jump to (shim/interpose/cuda.cc).
//
// Each asks the budget first, then the driver, then records what the driver gave. Whatever fails on
// our side, the driver's answer stands; the one answer of our own is kOutOfMemory.
// Thread-safe. Not async-signal-safe, as the driver is not.
#pragma once

#include "shim/gpu/abi.h"

namespace oomguard::gpu {

extern "C" {

CUresult oomguard_gpu_cuGetProcAddress(const char* name, void** function, int version,
                                       uint64_t flags) noexcept;
CUresult oomguard_gpu_cuGetProcAddress_v2(const char* name, void** function, int version,
                                          uint64_t flags, int* status) noexcept;

CUresult oomguard_gpu_cuMemAlloc_v2(CUdeviceptr* address, size_t size) noexcept;
CUresult oomguard_gpu_cuMemAllocPitch_v2(CUdeviceptr* address, size_t* pitch, size_t width,
                                         size_t height, unsigned element) noexcept;
CUresult oomguard_gpu_cuMemAllocManaged(CUdeviceptr* address, size_t size, unsigned flags) noexcept;
CUresult oomguard_gpu_cuMemFree_v2(CUdeviceptr address) noexcept;
CUresult oomguard_gpu_cuMemFreeAsync(CUdeviceptr address, CUstream stream) noexcept;
CUresult oomguard_gpu_cuMemFreeAsync_ptsz(CUdeviceptr address, CUstream stream) noexcept;

CUresult oomguard_gpu_cuMemAllocHost_v2(void** address, size_t size) noexcept;
CUresult oomguard_gpu_cuMemHostAlloc(void** address, size_t size, unsigned flags) noexcept;
CUresult oomguard_gpu_cuMemFreeHost(void* address) noexcept;
CUresult oomguard_gpu_cuMemHostRegister(void* address, size_t size, unsigned flags) noexcept;
CUresult oomguard_gpu_cuMemHostRegister_v2(void* address, size_t size, unsigned flags) noexcept;
CUresult oomguard_gpu_cuMemHostUnregister(void* address) noexcept;

CUresult oomguard_gpu_cuArrayCreate_v2(CUarray* array, const CUarrayDescriptor* shape) noexcept;
CUresult oomguard_gpu_cuArray3DCreate_v2(CUarray* array, const CUarray3DDescriptor* shape) noexcept;
CUresult oomguard_gpu_cuArrayDestroy(CUarray array) noexcept;
CUresult oomguard_gpu_cuMipmappedArrayCreate(CUmipmappedArray* array,
                                             const CUarray3DDescriptor* shape,
                                             unsigned levels) noexcept;
CUresult oomguard_gpu_cuMipmappedArrayDestroy(CUmipmappedArray array) noexcept;

CUresult oomguard_gpu_cuMemAllocAsync(CUdeviceptr* address, size_t size, CUstream stream) noexcept;
CUresult oomguard_gpu_cuMemAllocAsync_ptsz(CUdeviceptr* address, size_t size,
                                           CUstream stream) noexcept;
CUresult oomguard_gpu_cuMemAllocFromPoolAsync(CUdeviceptr* address, size_t size, CUmemoryPool pool,
                                              CUstream stream) noexcept;
CUresult oomguard_gpu_cuMemAllocFromPoolAsync_ptsz(CUdeviceptr* address, size_t size,
                                                   CUmemoryPool pool, CUstream stream) noexcept;
CUresult oomguard_gpu_cuMemPoolCreate(CUmemoryPool* pool, const CUmemPoolProps* props) noexcept;
CUresult oomguard_gpu_cuMemPoolDestroy(CUmemoryPool pool) noexcept;
CUresult oomguard_gpu_cuMemPoolTrimTo(CUmemoryPool pool, size_t kept) noexcept;

CUresult oomguard_gpu_cuMemCreate(CUmemGenericAllocationHandle* handle, size_t size,
                                  const CUmemAllocationProp* prop, uint64_t flags) noexcept;
CUresult oomguard_gpu_cuMemRelease(CUmemGenericAllocationHandle handle) noexcept;
CUresult oomguard_gpu_cuMemRetainAllocationHandle(CUmemGenericAllocationHandle* handle,
                                                  void* address) noexcept;
CUresult oomguard_gpu_cuMemMap(CUdeviceptr address, size_t size, size_t offset,
                               CUmemGenericAllocationHandle handle, uint64_t flags) noexcept;
CUresult oomguard_gpu_cuMemUnmap(CUdeviceptr address, size_t size) noexcept;

CUresult oomguard_gpu_cuGraphAddMemAllocNode(CUgraphNode* node, CUgraph graph,
                                             const CUgraphNode* dependencies, size_t count,
                                             CUmemAllocNodeParams* params) noexcept;
CUresult oomguard_gpu_cuGraphAddNode(CUgraphNode* node, CUgraph graph,
                                     const CUgraphNode* dependencies, size_t count,
                                     CUgraphNodeParams* params) noexcept;
CUresult oomguard_gpu_cuGraphAddNode_v2(CUgraphNode* node, CUgraph graph,
                                        const CUgraphNode* dependencies, const void* edges,
                                        size_t count, CUgraphNodeParams* params) noexcept;
CUresult oomguard_gpu_cuGraphUpload(CUgraphExec graph, CUstream stream) noexcept;
CUresult oomguard_gpu_cuGraphUpload_ptsz(CUgraphExec graph, CUstream stream) noexcept;
CUresult oomguard_gpu_cuGraphLaunch(CUgraphExec graph, CUstream stream) noexcept;
CUresult oomguard_gpu_cuGraphLaunch_ptsz(CUgraphExec graph, CUstream stream) noexcept;
CUresult oomguard_gpu_cuDeviceGraphMemTrim(CUdevice device) noexcept;

CUresult oomguard_gpu_cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) noexcept;
CUresult oomguard_gpu_cuDevicePrimaryCtxRelease(CUdevice device) noexcept;
CUresult oomguard_gpu_cuDevicePrimaryCtxRelease_v2(CUdevice device) noexcept;
CUresult oomguard_gpu_cuDevicePrimaryCtxReset(CUdevice device) noexcept;
CUresult oomguard_gpu_cuDevicePrimaryCtxReset_v2(CUdevice device) noexcept;
CUresult oomguard_gpu_cuCtxCreate_v2(CUcontext* context, unsigned flags, CUdevice device) noexcept;
CUresult oomguard_gpu_cuCtxCreate_v3(CUcontext* context, void* affinity, int count, unsigned flags,
                                     CUdevice device) noexcept;
CUresult oomguard_gpu_cuCtxCreate_v4(CUcontext* context, void* params, unsigned flags,
                                     CUdevice device) noexcept;
CUresult oomguard_gpu_cuCtxDestroy_v2(CUcontext context) noexcept;

CUresult oomguard_gpu_cuMemGetInfo_v2(size_t* free, size_t* total) noexcept;
CUresult oomguard_gpu_cuDeviceTotalMem_v2(size_t* bytes, CUdevice device) noexcept;

}  // extern "C"

}  // namespace oomguard::gpu

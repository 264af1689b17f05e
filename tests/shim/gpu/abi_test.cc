// abi.h against the toolkit's own header.
#include <cuda.h>
#include <gtest/gtest.h>

#include <cstddef>

// Its names would be hidden by cuda.h's otherwise.
#include "shim/gpu/abi.h"

namespace oomguard::gpu {
namespace {

#define OOMGUARD_SAME(ours, our_field, theirs, their_field)                            \
  static_assert(offsetof(ours, our_field) == offsetof(theirs, their_field));           \
  static_assert(sizeof(ours::our_field) == sizeof(theirs::their_field))

static_assert(sizeof(gpu::CUresult) == sizeof(::CUresult));
static_assert(sizeof(gpu::CUdevice) == sizeof(::CUdevice));
static_assert(sizeof(gpu::CUdeviceptr) == sizeof(::CUdeviceptr));
static_assert(sizeof(gpu::CUmemGenericAllocationHandle) == sizeof(::CUmemGenericAllocationHandle));
static_assert(sizeof(gpu::CUuuid) == sizeof(::CUuuid));

static_assert(kSuccess == CUDA_SUCCESS);
static_assert(kOutOfMemory == CUDA_ERROR_OUT_OF_MEMORY);
static_assert(kNotInitialized == CUDA_ERROR_NOT_INITIALIZED);
static_assert(kLegacy == CU_GET_PROC_ADDRESS_LEGACY_STREAM);
static_assert(kPerThread == CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM);
static_assert(kPoolReserved == CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
static_assert(kPoolInUse == CU_MEMPOOL_ATTR_USED_MEM_CURRENT);
static_assert(kGraphReserved == CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT);
static_assert(kPinnedAllocation == CU_MEM_ALLOCATION_TYPE_PINNED);
static_assert(kIntegrated == CU_DEVICE_ATTRIBUTE_INTEGRATED);
static_assert(kNodeMemAlloc == CU_GRAPH_NODE_TYPE_MEM_ALLOC);
static_assert(kCaptureNone == CU_STREAM_CAPTURE_STATUS_NONE);
static_assert(int{kLocationDevice} == CU_MEM_LOCATION_TYPE_DEVICE);
static_assert(int{kLocationHost} == CU_MEM_LOCATION_TYPE_HOST);
static_assert(int{kLocationHostNuma} == CU_MEM_LOCATION_TYPE_HOST_NUMA);
static_assert(int{kLocationHostNumaCurrent} == CU_MEM_LOCATION_TYPE_HOST_NUMA_CURRENT);
static_assert(kArraySparse == CUDA_ARRAY3D_SPARSE);
static_assert(kArrayDeferred == CUDA_ARRAY3D_DEFERRED_MAPPING);

static_assert(sizeof(gpu::CUmemAllocationProp) == sizeof(::CUmemAllocationProp));
OOMGUARD_SAME(gpu::CUmemAllocationProp, location, ::CUmemAllocationProp, location);
OOMGUARD_SAME(gpu::CUmemLocation, type, ::CUmemLocation, type);
OOMGUARD_SAME(gpu::CUmemLocation, id, ::CUmemLocation, id);
static_assert(sizeof(gpu::CUmemPoolProps) == sizeof(::CUmemPoolProps));
OOMGUARD_SAME(gpu::CUmemPoolProps, alloc_type, ::CUmemPoolProps, allocType);
OOMGUARD_SAME(gpu::CUmemPoolProps, location, ::CUmemPoolProps, location);
static_assert(sizeof(CUarrayDescriptor) == sizeof(CUDA_ARRAY_DESCRIPTOR));
OOMGUARD_SAME(CUarrayDescriptor, width, CUDA_ARRAY_DESCRIPTOR, Width);
OOMGUARD_SAME(CUarrayDescriptor, height, CUDA_ARRAY_DESCRIPTOR, Height);
OOMGUARD_SAME(CUarrayDescriptor, format, CUDA_ARRAY_DESCRIPTOR, Format);
OOMGUARD_SAME(CUarrayDescriptor, channels, CUDA_ARRAY_DESCRIPTOR, NumChannels);
static_assert(sizeof(CUarray3DDescriptor) == sizeof(CUDA_ARRAY3D_DESCRIPTOR));
OOMGUARD_SAME(CUarray3DDescriptor, depth, CUDA_ARRAY3D_DESCRIPTOR, Depth);
OOMGUARD_SAME(CUarray3DDescriptor, format, CUDA_ARRAY3D_DESCRIPTOR, Format);
OOMGUARD_SAME(CUarray3DDescriptor, channels, CUDA_ARRAY3D_DESCRIPTOR, NumChannels);
OOMGUARD_SAME(CUarray3DDescriptor, flags, CUDA_ARRAY3D_DESCRIPTOR, Flags);
static_assert(sizeof(CUmemAllocNodeParams) == sizeof(CUDA_MEM_ALLOC_NODE_PARAMS));
OOMGUARD_SAME(CUmemAllocNodeParams, pool, CUDA_MEM_ALLOC_NODE_PARAMS, poolProps);
OOMGUARD_SAME(CUmemAllocNodeParams, size, CUDA_MEM_ALLOC_NODE_PARAMS, bytesize);
OOMGUARD_SAME(CUmemAllocNodeParams, address, CUDA_MEM_ALLOC_NODE_PARAMS, dptr);
static_assert(sizeof(gpu::CUgraphNodeParams) == sizeof(::CUgraphNodeParams));
OOMGUARD_SAME(gpu::CUgraphNodeParams, type, ::CUgraphNodeParams, type);
OOMGUARD_SAME(gpu::CUgraphNodeParams, alloc, ::CUgraphNodeParams, alloc);

TEST(GpuAbi, IsThatOfTheToolkit) {}  // by what is above

}  // namespace
}  // namespace oomguard::gpu

// What the gate has to know of the CUDA driver's ABI, so that no toolkit is needed to build it.
// tests/shim/gpu compares all of it with cuda.h where a toolkit is found.
//
// A leaf. Handles are opaque pointers; enums are ints, as in C.
#pragma once

#include <cstddef>
#include <cstdint>

namespace oomguard::gpu {

using CUresult = int;
using CUdevice = int;
using CUdeviceptr = uint64_t;
using CUcontext = struct CUctx_st*;
using CUstream = struct CUstream_st*;
using CUarray = struct CUarray_st*;
using CUmipmappedArray = struct CUmipmappedArray_st*;
using CUmemoryPool = struct CUmemPoolHandle_st*;
using CUmemGenericAllocationHandle = uint64_t;
using CUgraph = struct CUgraph_st*;
using CUgraphNode = struct CUgraphNode_st*;
using CUgraphExec = struct CUgraphExec_st*;

inline constexpr CUresult kSuccess = 0;
inline constexpr CUresult kOutOfMemory = 2;
inline constexpr CUresult kNotInitialized = 3;

// Flags of cuGetProcAddress.
inline constexpr uint64_t kLegacy = 1;
inline constexpr uint64_t kPerThread = 2;

// Attributes of a memory pool, and of a device's memory for graphs. Values are uint64_t.
inline constexpr int kPoolReserved = 5;
inline constexpr int kPoolInUse = 7;
inline constexpr int kGraphReserved = 2;

inline constexpr int kPinnedAllocation = 1;  // CU_MEM_ALLOCATION_TYPE_PINNED
inline constexpr int kIntegrated = 18;  // attribute of a device: it shares the host's memory

inline constexpr int kNodeMemAlloc = 10;
inline constexpr int kCaptureNone = 0;

enum LocationType : int {
  kLocationNone = 0,
  kLocationDevice = 1,
  kLocationHost = 2,
  kLocationHostNuma = 3,
  kLocationHostNumaCurrent = 4,
};

struct CUmemLocation {
  int type;
  int id;
};

struct CUmemAllocationProp {
  int type;
  int requested_handle_types;
  CUmemLocation location;
  void* win32_handle_meta_data;
  unsigned char flags[8];
};

struct CUmemPoolProps {
  int alloc_type;
  int handle_types;
  CUmemLocation location;
  void* win32_security_attributes;
  size_t max_size;
  unsigned short usage;
  unsigned char reserved[54];
};

struct CUarrayDescriptor {  // CUDA_ARRAY_DESCRIPTOR_v2
  size_t width;
  size_t height;
  int format;
  unsigned channels;
};

struct CUarray3DDescriptor {  // CUDA_ARRAY3D_DESCRIPTOR_v2
  size_t width;
  size_t height;
  size_t depth;
  int format;
  unsigned channels;
  unsigned flags;
};
inline constexpr unsigned kArraySparse = 0x40;
inline constexpr unsigned kArrayDeferred = 0x80;

struct CUmemAllocNodeParams {  // CUDA_MEM_ALLOC_NODE_PARAMS_v1 and _v2
  CUmemPoolProps pool;
  const void* access;
  size_t access_count;
  size_t size;
  CUdeviceptr address;
};

struct CUgraphNodeParams {
  int type;
  int reserved0[3];
  union {
    int64_t reserved1[29];
    CUmemAllocNodeParams alloc;
  };
  int64_t reserved2;
};

struct CUuuid {
  unsigned char bytes[16];
};

}  // namespace oomguard::gpu

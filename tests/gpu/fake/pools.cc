// Stream-ordered allocation. A pool takes pieces of 32 MiB from its card and keeps what was freed,
// up to its threshold, until a stream is waited for.
#include "tests/gpu/fake/streams.h"

namespace fake {
namespace {

struct Pool {
  CUdevice device;
  bool host;
  bool imported;
  uint64_t limit;
  uint64_t reserved = 0, reserved_high = 0, used = 0, used_high = 0, threshold = 0;
};

// All under the world's mutex.
std::map<CUdevice, Pool*> default_pools, current_pools;
std::vector<Pool*> pools;

Pool* make_pool(CUdevice device, bool host, bool imported, uint64_t limit) {
  pools.push_back(new Pool{device, host, imported, limit});
  return pools.back();
}

Pool* default_pool(CUdevice device) {
  Pool*& pool = default_pools[device];
  if (pool == nullptr) pool = make_pool(device, false, false, 0);
  return pool;
}

Pool* current_pool(CUdevice device) {
  Pool*& pool = current_pools[device];
  if (pool == nullptr) pool = default_pool(device);
  return pool;
}

void trim(Pool& pool, uint64_t keep) {
  keep = round_up(std::max(keep, pool.used), kPoolPiece);
  if (pool.reserved <= keep) return;
  if (!pool.host) give(pool.device, FAKE_CUDA_POOL, pool.reserved - keep);
  pool.reserved = keep;
}

// The pool of a handle; needs the mutex.
Pool& pool_of(CUmemoryPool handle) {
  for (Pool* pool : pools) {
    if (pool == reinterpret_cast<Pool*>(handle)) return *pool;
  }
  stale("a pool");
}

CUresult allocate(CUdeviceptr* out, uint64_t bytes, CUmemoryPool from, CUstream stream) {
  Context* context = current();
  if (context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  if (out == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  const std::lock_guard lock(world().mutex);
  if (Graph* graph = captured(stream)) {
    *out = add_alloc_node(graph, context->device, bytes);
    return CUDA_SUCCESS;
  }
  Pool& pool = from != nullptr ? pool_of(from) : *current_pool(context->device);
  bytes = round_up(bytes, 512);
  if (pool.used + bytes > pool.reserved) {
    const uint64_t more = round_up(pool.used + bytes - pool.reserved, kPoolPiece);
    if (pool.limit != 0 && pool.reserved + more > pool.limit) return CUDA_ERROR_OUT_OF_MEMORY;
    if (!pool.host && !take(pool.device, FAKE_CUDA_POOL, more)) return CUDA_ERROR_OUT_OF_MEMORY;
    pool.reserved += more;
    pool.reserved_high = std::max(pool.reserved_high, pool.reserved);
  }
  pool.used += bytes;
  pool.used_high = std::max(pool.used_high, pool.used);
  *out = make_address(bytes);
  world().blocks[*out] = {FAKE_CUDA_POOL, pool.device, bytes, context,
                          reinterpret_cast<CUmemoryPool>(&pool)};
  return CUDA_SUCCESS;
}

CUresult free_async(CUdeviceptr address, CUstream stream) {
  {
    const std::lock_guard lock(world().mutex);
    if (Graph* graph = captured(stream)) {
      graph->nodes.push_back({0, address, 0});
      return CUDA_SUCCESS;
    }
  }
  return free_block(address);
}

uint64_t* attribute_of(Pool& pool, CUmemPool_attribute attribute) {
  switch (attribute) {
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD: return &pool.threshold;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT: return &pool.reserved;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH: return &pool.reserved_high;
    case CU_MEMPOOL_ATTR_USED_MEM_CURRENT: return &pool.used;
    case CU_MEMPOOL_ATTR_USED_MEM_HIGH: return &pool.used_high;
    default: return nullptr;
  }
}

bool on_device(const CUmemLocation& location) {
  return location.type == CU_MEM_LOCATION_TYPE_DEVICE;
}

CUmemoryPool handle(Pool* pool) { return reinterpret_cast<CUmemoryPool>(pool); }

}  // namespace

void pool_free(const Block& block) { reinterpret_cast<Pool*>(block.pool)->used -= block.bytes; }

void trim_pools() {
  const std::lock_guard lock(world().mutex);
  for (Pool* pool : pools) trim(*pool, pool->threshold);
}

}  // namespace fake

using namespace fake;

extern "C" {

#define FAKE_CUDA_BOTH(symbol, parameters, result) \
  CUresult symbol parameters {                     \
    FAKE_CUDA_ENTER(symbol);                       \
    return result;                                 \
  }                                                \
  CUresult symbol##_ptsz parameters {              \
    FAKE_CUDA_ENTER(symbol##_ptsz);                \
    return result;                                 \
  }
FAKE_CUDA_BOTH(cuMemAllocAsync, (CUdeviceptr * out, size_t bytes, CUstream stream),
               allocate(out, bytes, nullptr, stream))
FAKE_CUDA_BOTH(cuMemAllocFromPoolAsync,
               (CUdeviceptr * out, size_t bytes, CUmemoryPool pool, CUstream stream),
               allocate(out, bytes, pool, stream))
FAKE_CUDA_BOTH(cuMemFreeAsync, (CUdeviceptr address, CUstream stream), free_async(address, stream))

CUresult cuMemPoolCreate(CUmemoryPool* out, const CUmemPoolProps* props) {
  FAKE_CUDA_ENTER(cuMemPoolCreate);
  if (on_device(props->location) && !ordinal_ok(props->location.id)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const std::lock_guard lock(world().mutex);
  const bool host = !on_device(props->location);
  *out = handle(make_pool(host ? 0 : props->location.id, host, false, props->maxSize));
  return CUDA_SUCCESS;
}

CUresult cuMemPoolDestroy(CUmemoryPool pool) {
  FAKE_CUDA_ENTER(cuMemPoolDestroy);
  const std::lock_guard lock(world().mutex);
  Pool* ended = &pool_of(pool);
  for (auto i = world().blocks.begin(); i != world().blocks.end();) {
    i = i->second.pool == pool ? world().blocks.erase(i) : std::next(i);
  }
  ended->used = 0;
  trim(*ended, 0);
  std::erase(pools, ended);
  for (auto& [device, now] : current_pools) {
    if (now == ended) now = default_pool(device);
  }
  delete ended;
  return CUDA_SUCCESS;
}

CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t keep) {
  FAKE_CUDA_ENTER(cuMemPoolTrimTo);
  const std::lock_guard lock(world().mutex);
  trim(pool_of(pool), keep);
  return CUDA_SUCCESS;
}

CUresult cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void* value) {
  FAKE_CUDA_ENTER(cuMemPoolSetAttribute);
  const std::lock_guard lock(world().mutex);
  if (attribute == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD) {
    pool_of(pool).threshold = *static_cast<uint64_t*>(value);
  }
  return CUDA_SUCCESS;
}

CUresult cuMemPoolGetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void* value) {
  FAKE_CUDA_ENTER(cuMemPoolGetAttribute);
  const std::lock_guard lock(world().mutex);
  const uint64_t* found = attribute_of(pool_of(pool), attribute);
  if (found == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  *static_cast<uint64_t*>(value) = *found;
  return CUDA_SUCCESS;
}

CUresult cuMemPoolImportFromShareableHandle(CUmemoryPool* out, void*, CUmemAllocationHandleType,
                                            unsigned long long) {
  FAKE_CUDA_ENTER(cuMemPoolImportFromShareableHandle);
  const std::lock_guard lock(world().mutex);
  *out = handle(make_pool(0, false, true, 0));
  return CUDA_SUCCESS;
}

CUresult cuMemPoolImportPointer(CUdeviceptr* out, CUmemoryPool, CUmemPoolPtrExportData*) {
  FAKE_CUDA_ENTER(cuMemPoolImportPointer);
  const std::lock_guard lock(world().mutex);
  *out = make_address(kVmmGranularity);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool* out, CUdevice device) {
  FAKE_CUDA_ENTER(cuDeviceGetDefaultMemPool);
  if (!ordinal_ok(device)) return CUDA_ERROR_INVALID_DEVICE;
  const std::lock_guard lock(world().mutex);
  *out = handle(default_pool(device));
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetMemPool(CUmemoryPool* out, CUdevice device) {
  FAKE_CUDA_ENTER(cuDeviceGetMemPool);
  if (!ordinal_ok(device)) return CUDA_ERROR_INVALID_DEVICE;
  const std::lock_guard lock(world().mutex);
  *out = handle(current_pool(device));
  return CUDA_SUCCESS;
}

CUresult cuDeviceSetMemPool(CUdevice device, CUmemoryPool pool) {
  FAKE_CUDA_ENTER(cuDeviceSetMemPool);
  const std::lock_guard lock(world().mutex);
  current_pools[device] = reinterpret_cast<Pool*>(pool);
  return CUDA_SUCCESS;
}

CUresult cuMemGetDefaultMemPool(CUmemoryPool* out, CUmemLocation* location, CUmemAllocationType) {
  FAKE_CUDA_ENTER(cuMemGetDefaultMemPool);
  if (!on_device(*location) || !ordinal_ok(location->id)) return CUDA_ERROR_NOT_SUPPORTED;
  const std::lock_guard lock(world().mutex);
  *out = handle(default_pool(location->id));
  return CUDA_SUCCESS;
}

CUresult cuMemGetMemPool(CUmemoryPool* out, CUmemLocation* location, CUmemAllocationType) {
  FAKE_CUDA_ENTER(cuMemGetMemPool);
  if (!on_device(*location) || !ordinal_ok(location->id)) return CUDA_ERROR_NOT_SUPPORTED;
  const std::lock_guard lock(world().mutex);
  *out = handle(current_pool(location->id));
  return CUDA_SUCCESS;
}

CUresult cuMemSetMemPool(CUmemLocation* location, CUmemAllocationType, CUmemoryPool pool) {
  FAKE_CUDA_ENTER(cuMemSetMemPool);
  if (!on_device(*location) || !ordinal_ok(location->id)) return CUDA_ERROR_NOT_SUPPORTED;
  const std::lock_guard lock(world().mutex);
  current_pools[location->id] = reinterpret_cast<Pool*>(pool);
  return CUDA_SUCCESS;
}

}  // extern "C"

// A caching allocator above a runtime above the driver, as PyTorch's is: what it does when it is
// refused. The runtime here is a small one: it looks the driver up as the real one does, turns its
// statuses into the runtime's and keeps the last error for the thread.
#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "tests/gpu/routes/api.h"

namespace {

using namespace routes;

Api driver;
thread_local cudaError_t last_error = cudaSuccess;

cudaError_t translated(CUresult status) {
  switch (status) {
    case CUDA_SUCCESS: return cudaSuccess;
    case CUDA_ERROR_INVALID_VALUE: return cudaErrorInvalidValue;
    case CUDA_ERROR_OUT_OF_MEMORY: return last_error = cudaErrorMemoryAllocation;
    default: return last_error = cudaErrorUnknown;
  }
}

// As cudaMalloc, cudaFree, cudaHostAlloc, cudaGetLastError.
cudaError_t runtime_malloc(void** out, size_t bytes) {
  return translated(CALL(driver, cuMemAlloc_v2)(reinterpret_cast<CUdeviceptr*>(out), bytes));
}
cudaError_t runtime_free(void* block) {
  return translated(CALL(driver, cuMemFree_v2)(reinterpret_cast<CUdeviceptr>(block)));
}
cudaError_t runtime_host_alloc(void** out, size_t bytes) {
  return translated(CALL(driver, cuMemHostAlloc)(out, bytes, 0));
}
cudaError_t runtime_get_last_error() {
  const cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}

constexpr size_t kMiB = 1 << 20;
std::vector<void*> cached;

// Refused: clear the error, free what is cached, try once more; refused again: an exception.
void* allocate(size_t bytes) {
  void* block = nullptr;
  cudaError_t error = runtime_malloc(&block, bytes);
  if (error == cudaSuccess) return block;
  printf("refused %d last %d\n", error, runtime_get_last_error());
  if (error != cudaErrorMemoryAllocation) abort();  // PyTorch: an internal assertion
  for (void* one : cached) printf("uncache %d\n", runtime_free(one));
  cached.clear();
  error = runtime_malloc(&block, bytes);
  printf("again %d last %d\n", error, runtime_get_last_error());
  return error == cudaSuccess ? block : nullptr;
}

}  // namespace

int main() {
  driver = take_route("lookup2");
  CUcontext context = nullptr;
  CALL(driver, cuInit)(0);
  CALL(driver, cuDevicePrimaryCtxRetain)(&context, 0);
  CALL(driver, cuCtxSetCurrent)(context);
  for (int i = 0; i < 3; ++i) cached.push_back(allocate(200 * kMiB));
  void* large = allocate(700 * kMiB);  // fits without the cache
  printf("large %s\n", large != nullptr ? "there" : "out of memory");
  void* more = allocate(700 * kMiB);  // does not fit at all
  printf("more %s\n", more != nullptr ? "there" : "out of memory");
  printf("free %d\n", runtime_free(large));
  more = allocate(900 * kMiB);  // the process lives, its memory can be used again
  printf("later %s\n", more != nullptr ? "there" : "out of memory");
  void* host = nullptr;
  printf("host %d\n", runtime_host_alloc(&host, 4 * kMiB));
}

// The fake driver is what the gate is proven with, so it has to behave as its documentation says.
#define __CUDA_API_VERSION_INTERNAL
#include <cuda.h>
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/gpu/fake/fake_cuda.h"

namespace {

constexpr size_t kGiB = size_t{1} << 30;

template <typename Function>
Function* get(const char* name) {
  static void* const driver = [] {
    setenv("FAKE_CUDA_DEVICES", "4G,2G", 1);
    return dlopen(OOMGUARD_FAKE_CUDA, RTLD_NOW | RTLD_LOCAL);
  }();
  void* found = driver != nullptr ? dlsym(driver, name) : nullptr;
  EXPECT_NE(found, nullptr) << name;
  return reinterpret_cast<Function*>(found);
}
#define DRIVER(name) get<decltype(name)>(#name)

struct FakeCuda : testing::Test {
  void SetUp() override {
    ASSERT_EQ(DRIVER(cuInit)(0), CUDA_SUCCESS);
    ASSERT_EQ(DRIVER(cuDevicePrimaryCtxRetain)(&context, 0), CUDA_SUCCESS);
    ASSERT_EQ(DRIVER(cuCtxSetCurrent)(context), CUDA_SUCCESS);
  }
  void TearDown() override {
    EXPECT_EQ(DRIVER(cuDevicePrimaryCtxRelease_v2)(0), CUDA_SUCCESS);
    EXPECT_EQ(DRIVER(fake_cuda_held)(0, -1), 0u);
  }
  CUcontext context = nullptr;
};

void* ask(const char* name, int version, cuuint64_t flags, CUdriverProcAddressQueryResult* status) {
  void* found = nullptr;
  EXPECT_EQ(DRIVER(cuGetProcAddress_v2)(name, &found, version, flags, status), CUDA_SUCCESS);
  return found;
}

TEST_F(FakeCuda, RefusesWhatTheCardHasNot) {
  CUdeviceptr first = 0, second = 0;
  EXPECT_EQ(DRIVER(cuMemAlloc_v2)(&first, 3 * kGiB), CUDA_SUCCESS);
  EXPECT_EQ(DRIVER(cuMemAlloc_v2)(&second, 2 * kGiB), CUDA_ERROR_OUT_OF_MEMORY);
  size_t free = 0, total = 0;
  EXPECT_EQ(DRIVER(cuMemGetInfo_v2)(&free, &total), CUDA_SUCCESS);
  EXPECT_EQ(free, kGiB);
  EXPECT_EQ(total, 4 * kGiB);
  EXPECT_EQ(DRIVER(cuMemFree_v2)(first), CUDA_SUCCESS);
  EXPECT_EQ(DRIVER(cuMemFree_v2)(first), CUDA_ERROR_INVALID_VALUE);
  EXPECT_GE(DRIVER(fake_cuda_peak)(0), 3 * kGiB);
}

TEST_F(FakeCuda, FindsEachFormByVersionAndStreamFlavour) {
  CUdriverProcAddressQueryResult status;
  auto* const own = DRIVER(fake_cuda_address);
  EXPECT_EQ(ask("cuMemAlloc", 3020, 0, &status), own("cuMemAlloc_v2"));
  EXPECT_EQ(ask("cuMemAlloc", 13000, 0, &status), own("cuMemAlloc_v2"));
  EXPECT_EQ(ask("cuMemAlloc", 3000, 0, &status), own("cuMemAlloc"));
  EXPECT_EQ(ask("cuMemAlloc", 1000, 0, &status), nullptr);
  EXPECT_EQ(status, CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
  EXPECT_EQ(ask("cuMemAlloc_v2", 13000, 0, &status), nullptr);
  EXPECT_EQ(status, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
  EXPECT_EQ(ask("cuMemAllocAsync", 11020, 1, &status), own("cuMemAllocAsync"));
  EXPECT_EQ(ask("cuMemAllocAsync", 11020, 2, &status), own("cuMemAllocAsync_ptsz"));
  EXPECT_EQ(ask("cuMemAlloc", 13000, 2, &status), own("cuMemAlloc_v2"));
  EXPECT_EQ(ask("cuGetProcAddress", 11030, 0, &status), own("cuGetProcAddress"));
  EXPECT_EQ(ask("cuGetProcAddress", 12000, 0, &status), own("cuGetProcAddress_v2"));
  EXPECT_NE(ask("cuLaunchKernel", 13000, 0, &status), nullptr);
  EXPECT_EQ(status, CU_GET_PROC_ADDRESS_SUCCESS);
  void* found = &found;
  EXPECT_EQ(DRIVER(cuGetProcAddress)("cuNoSuchThing", &found, 12000, 0), CUDA_ERROR_NOT_FOUND);
  EXPECT_EQ(DRIVER(cuGetProcAddress)("cuMemAlloc", &found, 99000, 0), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(FakeCuda, PoolsReserveInPiecesAndKeepThemUntilAStreamIsWaitedFor) {
  CUdeviceptr block = 0;
  ASSERT_EQ(DRIVER(cuMemAllocAsync)(&block, 1000, nullptr), CUDA_SUCCESS);
  EXPECT_EQ(DRIVER(fake_cuda_held)(0, FAKE_CUDA_POOL), 32u << 20);
  ASSERT_EQ(DRIVER(cuMemFreeAsync)(block, nullptr), CUDA_SUCCESS);
  EXPECT_EQ(DRIVER(fake_cuda_held)(0, FAKE_CUDA_POOL), 32u << 20);
  ASSERT_EQ(DRIVER(cuStreamSynchronize)(nullptr), CUDA_SUCCESS);
}

TEST_F(FakeCuda, MappedMemoryOutlivesItsHandle) {
  CUmemAllocationProp props = {};
  props.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  props.location = {CU_MEM_LOCATION_TYPE_DEVICE, {1}};
  CUmemGenericAllocationHandle handle = 0, again = 0;
  CUdeviceptr place = 0;
  const size_t bytes = 4 << 20;
  ASSERT_EQ(DRIVER(cuMemCreate)(&handle, bytes, &props, 0), CUDA_SUCCESS);
  ASSERT_EQ(DRIVER(cuMemAddressReserve)(&place, bytes, 0, 0, 0), CUDA_SUCCESS);
  ASSERT_EQ(DRIVER(cuMemMap)(place, bytes, 0, handle, 0), CUDA_SUCCESS);
  ASSERT_EQ(DRIVER(cuMemRelease)(handle), CUDA_SUCCESS);
  EXPECT_EQ(DRIVER(fake_cuda_held)(1, FAKE_CUDA_VMM), bytes);
  ASSERT_EQ(DRIVER(cuMemRetainAllocationHandle)(&again, reinterpret_cast<void*>(place)),
            CUDA_SUCCESS);
  ASSERT_EQ(DRIVER(cuMemUnmap)(place, bytes), CUDA_SUCCESS);
  EXPECT_EQ(DRIVER(fake_cuda_held)(1, FAKE_CUDA_VMM), bytes);
  ASSERT_EQ(DRIVER(cuMemRelease)(again), CUDA_SUCCESS);
  EXPECT_EQ(DRIVER(fake_cuda_held)(1, FAKE_CUDA_VMM), 0u);
  ASSERT_EQ(DRIVER(cuMemAddressFree)(place, bytes), CUDA_SUCCESS);
}

TEST_F(FakeCuda, CapturedAllocationsTakeMemoryWhenLaunched) {
  CUstream stream = nullptr;
  CUgraph graph = nullptr;
  CUgraphExec exec = nullptr;
  CUdeviceptr block = 0;
  ASSERT_EQ(DRIVER(cuStreamCreate)(&stream, 0), CUDA_SUCCESS);
  ASSERT_EQ(DRIVER(cuStreamBeginCapture_v2)(stream, CU_STREAM_CAPTURE_MODE_GLOBAL), CUDA_SUCCESS);
  ASSERT_EQ(DRIVER(cuMemAllocAsync)(&block, kGiB, stream), CUDA_SUCCESS);
  ASSERT_EQ(DRIVER(cuStreamEndCapture)(stream, &graph), CUDA_SUCCESS);
  EXPECT_EQ(DRIVER(fake_cuda_held)(0, -1), 0u);
  ASSERT_EQ(DRIVER(cuGraphInstantiateWithFlags)(&exec, graph, 0), CUDA_SUCCESS);
  ASSERT_EQ(DRIVER(cuGraphLaunch)(exec, stream), CUDA_SUCCESS);
  EXPECT_EQ(DRIVER(fake_cuda_held)(0, FAKE_CUDA_GRAPH), kGiB);
  ASSERT_EQ(DRIVER(cuGraphExecDestroy)(exec), CUDA_SUCCESS);
  ASSERT_EQ(DRIVER(cuDeviceGraphMemTrim)(0), CUDA_SUCCESS);
}

TEST_F(FakeCuda, FailsAsTold) {
  CUdeviceptr block = 0;
  DRIVER(fake_cuda_fail)("cuMemAlloc_v2", 1, 1, CUDA_ERROR_UNKNOWN);
  EXPECT_EQ(DRIVER(cuMemAlloc_v2)(&block, 1), CUDA_SUCCESS);
  EXPECT_EQ(DRIVER(cuMemAlloc_v2)(&block, 1), CUDA_ERROR_UNKNOWN);
  EXPECT_EQ(DRIVER(cuMemAlloc_v2)(&block, 1), CUDA_SUCCESS);
}

TEST_F(FakeCuda, IsOfNoUseInAForkedChild) {
  const pid_t child = fork();
  if (child == 0) {
    int count = 0;
    _exit(DRIVER(cuDeviceGetCount)(&count) == CUDA_ERROR_NOT_INITIALIZED ? 0 : 1);
  }
  int status = 1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace

// Memory without an address lives as long as a reference to its handle or a mapping of it does.
#include "tests/shim/gpu/fake_card.h"

namespace oomguard::gpu {
namespace {

using oomguard::test::expect_in_child;
using test::Card;
using test::kMiB;

constexpr size_t kSize = 20 << 20;

class Memory : public Card {
 public:
  Memory() {
    const CUmemAllocationProp prop{1, 0, {kLocationDevice, 0}, nullptr, {}};
    EXPECT_EQ(oomguard_gpu_cuMemCreate(&handle, kSize, &prop, 0), kSuccess);
    const auto reserve =
        call<CUresult(CUdeviceptr*, size_t, size_t, CUdeviceptr, uint64_t)>("cuMemAddressReserve");
    EXPECT_EQ(reserve(&address, 4 * kSize, 0, 0, 0), kSuccess);
  }
  CUresult map(size_t at = 0) const {
    return oomguard_gpu_cuMemMap(address + at * kSize, kSize, 0, handle, 0);
  }

  CUmemGenericAllocationHandle handle = 0;
  CUdeviceptr address = 0;
};

TEST(GpuVmm, LivesUntilItsHandleIsReleased) {
  expect_in_child([] {
    const Memory memory;
    EXPECT_EQ(ledger.of(0, Account::kVmm), 20 * kMiB);
    EXPECT_EQ(oomguard_gpu_cuMemRelease(memory.handle), kSuccess);
    EXPECT_EQ(ledger.held(0), 0);
    EXPECT_EQ(memory.arena(), 0);
  });
}

TEST(GpuVmm, LivesOnWhileItIsMapped) {
  expect_in_child([] {
    const Memory memory;
    ASSERT_EQ(memory.map(0), kSuccess);
    ASSERT_EQ(memory.map(1), kSuccess);
    ASSERT_EQ(oomguard_gpu_cuMemRelease(memory.handle), kSuccess);
    EXPECT_EQ(ledger.held(0), 20 * kMiB);
    ASSERT_EQ(oomguard_gpu_cuMemUnmap(memory.address, kSize), kSuccess);
    EXPECT_EQ(ledger.held(0), 20 * kMiB);
    ASSERT_EQ(oomguard_gpu_cuMemUnmap(memory.address + kSize, kSize), kSuccess);
    EXPECT_EQ(ledger.held(0), 0);
    EXPECT_EQ(memory.arena(), 0);
  });
}

TEST(GpuVmm, OneUnmapEndsAllMappingsOfItsRange) {
  expect_in_child([] {
    const Memory memory;
    for (size_t at = 0; at < 4; ++at) ASSERT_EQ(memory.map(at), kSuccess);
    ASSERT_EQ(oomguard_gpu_cuMemRelease(memory.handle), kSuccess);
    ASSERT_EQ(oomguard_gpu_cuMemUnmap(memory.address, 4 * kSize), kSuccess);
    EXPECT_EQ(ledger.held(0), 0);
    EXPECT_EQ(memory.arena(), 0);
  });
}

TEST(GpuVmm, ARetainedHandleIsAReference) {
  expect_in_child([] {
    const Memory memory;
    ASSERT_EQ(memory.map(), kSuccess);
    CUmemGenericAllocationHandle again = 0;
    ASSERT_EQ(oomguard_gpu_cuMemRetainAllocationHandle(
                  &again, reinterpret_cast<void*>(memory.address)),
              kSuccess);
    ASSERT_EQ(oomguard_gpu_cuMemRelease(memory.handle), kSuccess);
    ASSERT_EQ(oomguard_gpu_cuMemUnmap(memory.address, kSize), kSuccess);
    EXPECT_EQ(ledger.held(0), 20 * kMiB);
    ASSERT_EQ(oomguard_gpu_cuMemRelease(again), kSuccess);
    EXPECT_EQ(ledger.held(0), 0);
    EXPECT_EQ(memory.arena(), 0);
  });
}

TEST(GpuVmm, WhatTheDriverDidNotDoIsTakenBack) {
  expect_in_child([] {
    const Memory memory;
    memory.fail("cuMemRelease", 999);
    EXPECT_EQ(oomguard_gpu_cuMemRelease(memory.handle), 999);
    EXPECT_EQ(ledger.held(0), 20 * kMiB);
    memory.fail("cuMemMap", 999);
    EXPECT_EQ(memory.map(), 999);
    ASSERT_EQ(memory.map(), kSuccess);
    ASSERT_EQ(oomguard_gpu_cuMemRelease(memory.handle), kSuccess);
    memory.fail("cuMemUnmap", 999);
    EXPECT_EQ(oomguard_gpu_cuMemUnmap(memory.address, kSize), 999);
    EXPECT_EQ(ledger.held(0), 20 * kMiB);
    EXPECT_EQ(oomguard_gpu_cuMemUnmap(memory.address, kSize), kSuccess);
    EXPECT_EQ(ledger.held(0), 0);
  });
}

TEST(GpuVmm, ForTheHostTheHostsGateIsAsked) {
  expect_in_child([] {
    const Memory memory;
    const CUmemAllocationProp prop{1, 0, {kLocationHostNuma, 0}, nullptr, {}};
    CUmemGenericAllocationHandle handle = 0;
    if (oomguard_gpu_cuMemCreate(&handle, kSize, &prop, 0) != kSuccess)
      GTEST_SKIP() << "not known to this driver";
    EXPECT_EQ(ledger.host(Account::kPinned), 20 * kMiB);
    EXPECT_EQ(ledger.held(0), 20 * kMiB);
    ASSERT_EQ(oomguard_gpu_cuMemRelease(handle), kSuccess);
    EXPECT_EQ(ledger.host(Account::kPinned), 0);
  });
}

}  // namespace
}  // namespace oomguard::gpu

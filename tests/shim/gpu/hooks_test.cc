// What has an address, host memory, pools and contexts, on the fake driver.
#include <thread>
#include <vector>

#include "tests/shim/gpu/fake_card.h"

namespace oomguard::gpu {
namespace {

using oomguard::test::expect_in_child;
using test::allocate;
using test::Card;
using test::kMiB;
using test::refusals;

TEST(GpuHooks, AreThoseOfTheFormThatWasAskedFor) {
  expect_in_child([] {
    const Card card;
    const auto ask = [](const char* name, int version, uint64_t flags) {
      void* function = nullptr;
      EXPECT_EQ(oomguard_gpu_cuGetProcAddress_v2(name, &function, version, flags, nullptr),
                kSuccess);
      return function;
    };
    const auto hook = [](auto* function) { return reinterpret_cast<void*>(function); };
    EXPECT_EQ(ask("cuMemAlloc", 3020, kLegacy), hook(oomguard_gpu_cuMemAlloc_v2));
    EXPECT_EQ(ask("cuMemAlloc", 12000, 0), hook(oomguard_gpu_cuMemAlloc_v2));
    EXPECT_EQ(ask("cuMemAllocAsync", 11020, kLegacy), hook(oomguard_gpu_cuMemAllocAsync));
    EXPECT_EQ(ask("cuMemAllocAsync", 11020, kPerThread), hook(oomguard_gpu_cuMemAllocAsync_ptsz));
    EXPECT_EQ(ask("cuGetProcAddress", 11030, 0), hook(oomguard_gpu_cuGetProcAddress));
    EXPECT_EQ(ask("cuGetProcAddress", 12000, 0), hook(oomguard_gpu_cuGetProcAddress_v2));
    EXPECT_EQ(ask("cuCtxCreate", 11040, 0), hook(oomguard_gpu_cuCtxCreate_v3));
    void* v1 = ask("cuMemAlloc", 2000, 0);
    EXPECT_EQ(v1, card.call<void>("cuMemAlloc")) << "not hooked, so the driver's own";
  });
}

TEST(GpuHooks, RefuseAtTheBudgetAndNotBefore) {
  expect_in_child([] {
    const Card card(512 * kMiB);
    CUdeviceptr first = 0;
    EXPECT_EQ(allocate(256 * kMiB, &first), kSuccess);
    EXPECT_EQ(allocate(256 * kMiB), kSuccess);
    EXPECT_EQ(allocate(1), kOutOfMemory);
    EXPECT_EQ(ledger.held(0), 512 * kMiB);
    EXPECT_EQ(card.arena(), 512 * kMiB);
    EXPECT_EQ(oomguard_gpu_cuMemFree_v2(first), kSuccess);
    EXPECT_EQ(ledger.held(0), 256 * kMiB);
    EXPECT_EQ(allocate(256 * kMiB), kSuccess);
    EXPECT_EQ(card.peak(), 512 * kMiB);
  });
}

TEST(GpuHooks, PassOnWhatTheDriverAnswersAndCountNothingForIt) {
  expect_in_child([] {
    const Card card;
    card.fail("cuMemAlloc_v2", 999);
    EXPECT_EQ(allocate(kMiB), 999);
    EXPECT_EQ(ledger.held(0), 0);
    CUdeviceptr address = 0;
    ASSERT_EQ(allocate(kMiB, &address), kSuccess);
    card.fail("cuMemFree_v2", 999);
    EXPECT_EQ(oomguard_gpu_cuMemFree_v2(address), 999);
    EXPECT_EQ(ledger.held(0), kMiB) << "it is still there";
    EXPECT_EQ(oomguard_gpu_cuMemFree_v2(address), kSuccess);
    EXPECT_EQ(ledger.held(0), 0);
    EXPECT_NE(oomguard_gpu_cuMemFree_v2(12345), kSuccess) << "unknown, so the driver is asked";
    EXPECT_EQ(oomguard_gpu_cuMemFree_v2(0), kSuccess);
    EXPECT_EQ(refusals(), 0u);
  });
}

TEST(GpuHooks, ARetryOfTheSameIsOneRefusalThatMayRecover) {
  expect_in_child([] {
    const Card card;
    CUdeviceptr cached = 0;
    ASSERT_EQ(allocate(300 * kMiB, &cached), kSuccess);
    EXPECT_EQ(allocate(300 * kMiB), kOutOfMemory);
    EXPECT_EQ(allocate(300 * kMiB), kOutOfMemory);
    EXPECT_EQ(refusals(), 1u);
    const record::RefusalRecord& refusal = session::file()->refusals[0];
    EXPECT_EQ(refusal.kind, static_cast<uint32_t>(record::RequestKind::kGpu));
    EXPECT_EQ(refusal.request_bytes, 300 * kMiB);
    EXPECT_EQ(refusal.levels[0].limit_bytes, 512 * kMiB);
    EXPECT_EQ(refusal.levels[0].usage_bytes, 300 * kMiB);
    EXPECT_STREQ(refusal.levels[0].path, "GPU 0");
    EXPECT_EQ(refusal.blocks[0].size_bytes, 300 * kMiB);
    EXPECT_EQ(refusal.recovered, 0u);
    ASSERT_EQ(oomguard_gpu_cuMemFree_v2(cached), kSuccess);
    EXPECT_EQ(allocate(300 * kMiB), kSuccess);
    EXPECT_EQ(refusal.recovered, 1u);
    EXPECT_EQ(allocate(400 * kMiB), kOutOfMemory);
    EXPECT_EQ(refusals(), 2u);
  });
}

TEST(GpuHooks, ARequestOfAGraphMayRecoverToo) {
  expect_in_child([] {
    const Card card;
    auto* stream = reinterpret_cast<CUstream>(0x40);
    CUgraph graph = nullptr;
    ASSERT_EQ(card.call<CUresult(CUstream, int)>("cuStreamBeginCapture_v2")(stream, 0), kSuccess);
    CUmemAllocNodeParams params{};
    params.pool.location.type = kLocationDevice;
    params.size = 300 * kMiB;
    CUgraphNode node = nullptr;
    ASSERT_EQ(card.call<CUresult(CUgraph*, unsigned)>("cuGraphCreate")(&graph, 0), kSuccess);
    const auto capture = [stream] {
      CUdeviceptr address = 0;
      return oomguard_gpu_cuMemAllocAsync(&address, 300 * kMiB, stream);
    };
    const auto add = [&] {
      return oomguard_gpu_cuGraphAddMemAllocNode(&node, graph, nullptr, 0, &params);
    };
    for (uint64_t number = 0; number < 2; ++number) {
      CUdeviceptr cached = 0;
      ASSERT_EQ(allocate(300 * kMiB, &cached), kSuccess);
      EXPECT_EQ(number == 0 ? capture() : add(), kOutOfMemory);
      EXPECT_EQ(oomguard_gpu_cuMemFree_v2(cached), kSuccess);
      EXPECT_EQ(session::file()->refusals[number].recovered, 0u);
      EXPECT_EQ(number == 0 ? capture() : add(), kSuccess);
      EXPECT_EQ(refusals(), number + 1);
      EXPECT_EQ(session::file()->refusals[number].recovered, 1u);
      EXPECT_EQ(ledger.held(0), 0);
    }
  });
}

TEST(GpuHooks, TheDriversOwnRefusalIsRecordedAsThat) {
  expect_in_child([] {
    const Card card;
    card.fail("cuMemAlloc_v2", kOutOfMemory);
    EXPECT_EQ(allocate(kMiB), kOutOfMemory);
    ASSERT_EQ(refusals(), 1u);
    EXPECT_EQ(session::file()->refusals[0].outcome,
              static_cast<uint32_t>(record::Outcome::kByDriver));
    EXPECT_EQ(allocate(kMiB), kSuccess);
    EXPECT_EQ(session::file()->refusals[0].recovered, 1u);
  });
}

TEST(GpuHooks, AStreamMayFreeWhatIsInNoPool) {
  expect_in_child([] {
    const Card card;
    Table::Entry found;
    CUdeviceptr address = 0;
    for (const bool per_thread : {false, true}) {
      const auto free = per_thread ? oomguard_gpu_cuMemFreeAsync_ptsz : oomguard_gpu_cuMemFreeAsync;
      ASSERT_EQ(allocate(10 * kMiB, &address), kSuccess);
      card.fail(per_thread ? "cuMemFreeAsync_ptsz" : "cuMemFreeAsync", 999);
      EXPECT_EQ(free(address, nullptr), 999);
      EXPECT_EQ(ledger.held(0), 10 * kMiB) << "it is still there";
      EXPECT_EQ(free(address, nullptr), kSuccess);
      EXPECT_EQ(ledger.held(0), 0);
      EXPECT_EQ(card.arena(), 0);
      EXPECT_FALSE(ledger.blocks.find(address, &found));
      EXPECT_NE(free(12345, nullptr), kSuccess) << "unknown, so the driver is asked";
    }
    ASSERT_EQ(oomguard_gpu_cuMemAllocAsync(&address, kMiB, nullptr), kSuccess);
    EXPECT_EQ(oomguard_gpu_cuMemFreeAsync(address, nullptr), kSuccess);
    EXPECT_EQ(ledger.held(0), 32 * kMiB) << "the pool's";
  });
}

TEST(GpuHooks, PitchedMemoryAndArraysCountWithWhatTheyTake) {
  expect_in_child([] {
    const Card card;
    CUdeviceptr address = 0;
    size_t pitch = 0;
    ASSERT_EQ(oomguard_gpu_cuMemAllocPitch_v2(&address, &pitch, 1000, 1000, 4), kSuccess);
    EXPECT_EQ(ledger.held(0), card.arena());
    CUarray array = nullptr;
    const CUarray3DDescriptor shape{256, 256, 4, 0x20, 4, 0};
    ASSERT_EQ(oomguard_gpu_cuArray3DCreate_v2(&array, &shape), kSuccess);
    CUmipmappedArray mipmap = nullptr;
    ASSERT_EQ(oomguard_gpu_cuMipmappedArrayCreate(&mipmap, &shape, 3), kSuccess);
    EXPECT_EQ(ledger.held(0), card.arena());
    EXPECT_EQ(oomguard_gpu_cuArrayDestroy(array), kSuccess);
    EXPECT_EQ(oomguard_gpu_cuMipmappedArrayDestroy(mipmap), kSuccess);
    EXPECT_EQ(oomguard_gpu_cuMemFree_v2(address), kSuccess);
    EXPECT_EQ(ledger.held(0), 0);
    EXPECT_EQ(card.arena(), 0);
  });
}

TEST(GpuHooks, ManagedMemoryMayBeMoreThanTheCardHas) {
  expect_in_child([] {
    const Card card;
    CUdeviceptr address = 0;
    ASSERT_EQ(oomguard_gpu_cuMemAllocManaged(&address, 600 * kMiB, 1), kSuccess);
    EXPECT_EQ(ledger.of(0, Account::kManaged), 600 * kMiB);
    EXPECT_EQ(ledger.held(0), 0);
    EXPECT_EQ(oomguard_gpu_cuMemFree_v2(address), kSuccess);
    EXPECT_EQ(ledger.of(0, Account::kManaged), 0);
  });
}

TEST(GpuHooks, LockedMemoryIsTheHostsGateToJudge) {
  expect_in_child([] {
    const Card card;
    void* address = nullptr;
    ASSERT_EQ(oomguard_gpu_cuMemHostAlloc(&address, 2 * kMiB, 0), kSuccess);
    EXPECT_EQ(ledger.host(Account::kPinned), 2 * kMiB);
    EXPECT_EQ(oomguard_gpu_cuMemFreeHost(address), kSuccess);
    EXPECT_EQ(ledger.host(Account::kPinned), 0);
    std::vector<char> own(1 << 20, 'x');
    ASSERT_EQ(oomguard_gpu_cuMemHostRegister_v2(own.data(), own.size(), 0), kSuccess);
    EXPECT_EQ(ledger.host(Account::kRegistered), kMiB);
    EXPECT_EQ(oomguard_gpu_cuMemHostUnregister(own.data()), kSuccess);
    EXPECT_EQ(ledger.host(Account::kRegistered), 0);
    EXPECT_EQ(oomguard_gpu_cuMemHostAlloc(&address, size_t{1} << 45, 0), kOutOfMemory);
    ASSERT_EQ(refusals(), 1u);
    EXPECT_EQ(session::file()->refusals[0].kind,
              static_cast<uint32_t>(record::RequestKind::kPinned));
  });
}

TEST(GpuHooks, PoolsCountWithWhatTheyReserveAndGiveItBackBeforeARefusal) {
  expect_in_child([] {
    const Card card;
    CUdeviceptr address = 0;
    ASSERT_EQ(oomguard_gpu_cuMemAllocAsync(&address, 300 * kMiB, nullptr), kSuccess);
    EXPECT_EQ(ledger.of(0, Account::kPool), card.arena());
    EXPECT_EQ(ledger.held(0), card.arena());
    EXPECT_EQ(allocate(300 * kMiB), kOutOfMemory);
    ASSERT_EQ(card.call<CUresult(CUdeviceptr, CUstream)>("cuMemFreeAsync")(address, nullptr),
              kSuccess);
    EXPECT_EQ(allocate(300 * kMiB), kSuccess) << "the pool kept what nobody used";
    EXPECT_EQ(ledger.of(0, Account::kPool), 0);
    EXPECT_EQ(oomguard_gpu_cuMemAllocAsync(&address, 300 * kMiB, nullptr), kOutOfMemory);
    EXPECT_LE(card.peak(), 512 * kMiB);
    EXPECT_EQ(ledger.held(0), card.arena());
  });
}

TEST(GpuHooks, APoolIsDestroyedHoweverLongSomebodyLooksAtIt) {
  expect_in_child([] {
    const Card card;
    CUmemPoolProps props{};
    props.alloc_type = kPinnedAllocation;
    props.location.type = kLocationDevice;
    CUmemoryPool pool = nullptr;
    ASSERT_EQ(oomguard_gpu_cuMemPoolCreate(&pool, &props), kSuccess);
    CUdeviceptr address = 0;
    ASSERT_EQ(oomguard_gpu_cuMemAllocFromPoolAsync(&address, kMiB, pool, nullptr), kSuccess);
    uint32_t now = 0;
    ASSERT_TRUE(ledger.pools.add(reinterpret_cast<uint64_t>(pool), 1 << 24, &now));
    EXPECT_EQ(oomguard_gpu_cuMemPoolDestroy(pool), kSuccess);
    EXPECT_EQ(ledger.held(0), 0);
    EXPECT_EQ(card.arena(), 0);
    EXPECT_EQ(budget::gate.faults(), 1u);
  });
}

TEST(GpuHooks, WhatAPoolHasAlreadyIsNoQuestionOnAFullCard) {
  expect_in_child([] {
    const Card card(0);
    CUdeviceptr address = 0;
    ASSERT_EQ(oomguard_gpu_cuMemAllocAsync(&address, 20 * kMiB, nullptr), kSuccess);
    CUdeviceptr past_the_gate = 0;
    ASSERT_EQ(driver.cuMemAlloc_v2(&past_the_gate, 980 * kMiB), kSuccess);
    EXPECT_EQ(oomguard_gpu_cuMemAllocAsync(&address, 8 * kMiB, nullptr), kSuccess);
    EXPECT_EQ(oomguard_gpu_cuMemAllocAsync(&address, 8 * kMiB, nullptr), kOutOfMemory);
    EXPECT_EQ(ledger.of(0, Account::kPool), 32 * kMiB);
  });
}

TEST(GpuHooks, WithAContextGoesWhatWasAllocatedInIt) {
  expect_in_child([] {
    const Card card;
    ASSERT_EQ(allocate(10 * kMiB), kSuccess);
    CUcontext other = nullptr;
    ASSERT_EQ(oomguard_gpu_cuCtxCreate_v2(&other, 0, 0), kSuccess);
    ASSERT_EQ(allocate(20 * kMiB), kSuccess);
    EXPECT_EQ(ledger.held(0), 30 * kMiB);
    ASSERT_EQ(oomguard_gpu_cuCtxDestroy_v2(other), kSuccess);
    EXPECT_EQ(ledger.held(0), 10 * kMiB);
    ASSERT_EQ(oomguard_gpu_cuDevicePrimaryCtxReset_v2(0), kSuccess);
    EXPECT_EQ(ledger.held(0), 0);
    EXPECT_EQ(card.arena(), 0);
  });
}

TEST(GpuHooks, AutoLeavesAReserveOfWhatTheCardHasFree) {
  expect_in_child([] {
    const Card card(0);
    ASSERT_EQ(allocate(900 * kMiB), kSuccess);
    EXPECT_EQ(allocate(100 * kMiB), kOutOfMemory) << "32 MiB are kept";
    EXPECT_EQ(allocate(90 * kMiB), kSuccess);
    EXPECT_EQ(session::file()->refusals[0].levels[0].limit_bytes, 992 * kMiB);
    EXPECT_EQ(session::file()->refusals[0].levels[0].usage_bytes, 900 * kMiB);
  });
}

TEST(GpuHooks, TheViewIsTheBudgetAndNeverMoreThanTheDriverSays) {
  expect_in_child([] {
    const Card card;
    size_t free = 0;
    size_t total = 0;
    ASSERT_EQ(allocate(100 * kMiB), kSuccess);
    ASSERT_EQ(oomguard_gpu_cuMemGetInfo_v2(&free, &total), kSuccess);
    EXPECT_EQ(free, 412u * kMiB);
    EXPECT_EQ(total, 512u * kMiB);
    ASSERT_EQ(oomguard_gpu_cuMemGetInfo_v2(nullptr, &total), kSuccess);
    ASSERT_EQ(oomguard_gpu_cuDeviceTotalMem_v2(&total, 0), kSuccess);
    EXPECT_EQ(total, 512u * kMiB);
    // Past the gate: somebody else takes most of the card.
    ASSERT_EQ(driver.cuMemAlloc_v2(&free, 800 * kMiB), kSuccess);
    ASSERT_EQ(oomguard_gpu_cuMemGetInfo_v2(&free, &total), kSuccess);
    EXPECT_EQ(free, 124u * kMiB);
  });
}

TEST(GpuHooks, AForkedChildHoldsNothing) {
  expect_in_child([] {
    const Card card;
    ASSERT_EQ(allocate(100 * kMiB), kSuccess);
    expect_in_child([] {
      on_fork_child();
      EXPECT_EQ(ledger.held(0), 0);
      int left = 0;
      ledger.blocks.for_each([&left](const Table::Entry&) { ++left; });
      EXPECT_EQ(left, 0);
      EXPECT_NE(allocate(kMiB), kSuccess) << "a child cannot use its parent's driver";
      EXPECT_EQ(ledger.held(0), 0);
    });
    EXPECT_EQ(ledger.held(0), 100 * kMiB);
  });
}

TEST(GpuHooks, ThreadsNeverTakeMoreThanTheBudget) {
  expect_in_child([] {
    const Card card(64 * kMiB);
    std::atomic<int> unexpected{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&card, &unexpected, t] {
        card.make_current(card.context);
        unsigned seed = static_cast<unsigned>(t);
        for (int i = 0; i < 1000; ++i) {
          CUdeviceptr address = 0;
          const CUresult status = allocate(1 + rand_r(&seed) % (20 * kMiB), &address);
          if (status == kSuccess && oomguard_gpu_cuMemFree_v2(address) != kSuccess) ++unexpected;
          if (status != kSuccess && status != kOutOfMemory) ++unexpected;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(unexpected, 0);
    EXPECT_LE(card.peak(), 64 * kMiB);
    EXPECT_EQ(ledger.held(0), 0);
    EXPECT_EQ(card.arena(), 0);
  });
}

}  // namespace
}  // namespace oomguard::gpu

#include "shim/gpu/ledger.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace oomguard::gpu {
namespace {

TEST(GpuLedger, AReservationIsWhatIsHeldUntilItIsReleasedOrCommitted) {
  auto ledger = std::make_unique<Ledger>();
  EXPECT_TRUE(ledger->reserve(0, 60, 100));
  EXPECT_FALSE(ledger->reserve(0, 41, 100));
  EXPECT_TRUE(ledger->reserve(1, 100, 100)) << "another card";
  ledger->release(0, 60);
  EXPECT_TRUE(ledger->reserve(0, 100, 100));
  ledger->commit(0, Account::kDevice, 100);
  EXPECT_EQ(ledger->of(0, Account::kDevice), 100);
  ledger->uncommit(0, Account::kDevice, 100);
  EXPECT_EQ(ledger->of(0, Account::kDevice), 0);
  EXPECT_EQ(ledger->held(0), 0);
  EXPECT_EQ(ledger->card(0).peak, 100);
}

TEST(GpuLedger, ARequestOfEverythingDoesNotOverflow) {
  auto ledger = std::make_unique<Ledger>();
  EXPECT_TRUE(ledger->reserve(0, 10, INT64_MAX));
  EXPECT_FALSE(ledger->reserve(0, INT64_MAX, INT64_MAX));
  EXPECT_EQ(ledger->held(0), 10);
}

TEST(GpuLedger, ManagedAndHostMemoryAreOnNoCard) {
  auto ledger = std::make_unique<Ledger>();
  ledger->add_managed(0, 50);
  ledger->add_host(Account::kPinned, 70);
  EXPECT_EQ(ledger->held(0), 0);
  EXPECT_EQ(ledger->of(0, Account::kManaged), 50);
  EXPECT_EQ(ledger->host(Account::kPinned), 70);
}

TEST(GpuLedger, GrowthTakesThePlaceOfItsReservation) {
  auto ledger = std::make_unique<Ledger>();
  ASSERT_TRUE(ledger->reserve(0, 64, 100));
  ledger->grow(0, Account::kPool, 32, 64);
  EXPECT_EQ(ledger->held(0), 32);
  EXPECT_EQ(ledger->of(0, Account::kPool), 32);
  ledger->grow(0, Account::kPool, -32, 0);
  EXPECT_EQ(ledger->held(0), 0);
}

TEST(GpuLedger, ThreadsNeverHoldMoreThanTheLimitTogether) {
  auto ledger = std::make_unique<Ledger>();
  constexpr Bytes kLimit = 1000;
  std::atomic<Bytes> really{0};
  std::atomic<int> over{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      unsigned seed = static_cast<unsigned>(t);
      for (int i = 0; i < 20'000; ++i) {
        const Bytes size = rand_r(&seed) % 400;
        if (!ledger->reserve(0, size, kLimit)) continue;
        if ((really += size) > kLimit) ++over;
        ledger->commit(0, Account::kDevice, size);
        really -= size;
        ledger->uncommit(0, Account::kDevice, size);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(over, 0);
  EXPECT_EQ(ledger->held(0), 0);
  EXPECT_LE(ledger->card(0).peak, kLimit);
}

TEST(GpuLedger, TheTreesPlaceHasTheSame) {
  auto ledger = std::make_unique<Ledger>();
  std::atomic<Bytes> place{0};
  ledger->card(0).shared = &place;
  ASSERT_TRUE(ledger->reserve(0, 64, 100));
  EXPECT_EQ(place, 64);
  ledger->grow(0, Account::kPool, 32, 64);
  EXPECT_EQ(place, 32);
  ledger->release(0, 32);
  EXPECT_EQ(place, 0);
  ledger->forget();
  EXPECT_EQ(ledger->card(0).shared.load(), nullptr);
}

}  // namespace
}  // namespace oomguard::gpu

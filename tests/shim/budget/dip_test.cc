#include "shim/budget/dip.h"

#include <gtest/gtest.h>

namespace oomguard::budget {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kStart = 5'000 * kMs;

int64_t take_all(Dip& dip, int64_t size, int64_t now_ns) {
  int64_t sum = 0;
  for (int64_t taken = 0; (taken = dip.take(size, now_ns)) >= 0;) sum += taken;
  return sum;
}

TEST(DipTest, AFreshThreadHasTheWholeBurst) {
  Dip dip{};
  EXPECT_EQ(take_all(dip, 1024, kStart), kDipBurst);
}

TEST(DipTest, ItComesBackAsATrickle) {
  Dip dip{};
  take_all(dip, 1024, kStart);
  EXPECT_EQ(dip.take(16, kStart), -1);
  int64_t taken = 0;
  for (int64_t ms = 1; ms <= 1000; ++ms) taken += take_all(dip, 64, kStart + ms * kMs);
  EXPECT_NEAR(static_cast<double>(taken), kDipPerSecond, 2048);
}

TEST(DipTest, NeverMoreThanOneBurstHoweverLongThePause) {
  Dip dip{};
  ASSERT_EQ(dip.take(kDipRequest, kStart), kDipRequest);
  EXPECT_EQ(take_all(dip, 1024, kStart + 3'600'000 * kMs), kDipBurst);
}

TEST(DipTest, LargeRequestsDoNotDip) {
  Dip dip{};
  EXPECT_EQ(dip.take(kDipRequest + 1, kStart), -1);
  EXPECT_EQ(dip.take(kDipRequest, kStart), kDipRequest);
}

TEST(DipTest, TinyRequestsTakeASliceAtATime) {
  Dip dip{};
  EXPECT_EQ(dip.take(57, kStart), kDipSlice);
  EXPECT_EQ(dip.take(5000, kStart), 5000);
  EXPECT_EQ(dip.take(0, kStart), kDipSlice);
}

TEST(DipTest, TheLastBytesAreTakenOneByOne) {
  Dip dip{};
  for (int64_t left = kDipBurst; left > kDipSlice; left -= kDipSlice) {
    ASSERT_EQ(dip.take(57, kStart), kDipSlice);
  }
  ASSERT_EQ(dip.take(4000, kStart), kDipSlice);
  EXPECT_EQ(dip.take(57, kStart), -1);
}

}  // namespace
}  // namespace oomguard::budget

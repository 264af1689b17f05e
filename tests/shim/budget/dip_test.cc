#include "shim/budget/dip.h"

#include <gtest/gtest.h>

namespace oomguard::budget {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kStart = 5'000 * kMs;

TEST(DipTest, AFreshThreadHasTheWholeBurst) {
  Dip dip{};
  int64_t taken = 0;
  while (dip.take(1024, kStart)) taken += 1024;
  EXPECT_EQ(taken, kDipBurst);
}

TEST(DipTest, ItComesBackAsATrickle) {
  Dip dip{};
  while (dip.take(1024, kStart)) {
  }
  EXPECT_FALSE(dip.take(16, kStart));
  int64_t taken = 0;
  for (int64_t ms = 1; ms <= 1000; ++ms) {
    if (dip.take(64, kStart + ms * kMs)) taken += 64;
  }
  EXPECT_NEAR(static_cast<double>(taken), kDipPerSecond, 2048);
}

TEST(DipTest, NeverMoreThanOneBurstHoweverLongThePause) {
  Dip dip{};
  ASSERT_TRUE(dip.take(kDipRequest, kStart));
  int64_t taken = 0;
  while (dip.take(1024, kStart + 3'600'000 * kMs)) taken += 1024;
  EXPECT_EQ(taken, kDipBurst);
}

TEST(DipTest, LargeRequestsDoNotDip) {
  Dip dip{};
  EXPECT_FALSE(dip.take(kDipRequest + 1, kStart));
  EXPECT_TRUE(dip.take(kDipRequest, kStart));
}

}  // namespace
}  // namespace oomguard::budget

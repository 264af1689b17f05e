#include "shim/budget/growth.h"

#include <gtest/gtest.h>

namespace oomguard::budget {
namespace {

constexpr int64_t kMs = 1'000'000;

TEST(Growth, SumsStepsUpAndIgnoresStepsDown) {
  Growth growth(200 * kMs);
  growth.update(1000, 1 * kMs);
  EXPECT_EQ(growth.recent(), 0) << "the first value is where it starts";
  growth.update(1500, 2 * kMs);
  growth.update(700, 3 * kMs);
  growth.update(900, 30 * kMs);
  EXPECT_EQ(growth.recent(), 700);
}

TEST(Growth, ForgetsWhatIsOlderThanTheWindow) {
  Growth growth(200 * kMs);
  growth.update(0, 0);
  growth.update(1'000'000, 10 * kMs);
  growth.update(1'000'000, 150 * kMs);
  EXPECT_EQ(growth.recent(), 1'000'000);
  growth.update(1'000'000, 230 * kMs);
  EXPECT_EQ(growth.recent(), 0);
}

TEST(Growth, ForgetsEverythingAfterALongPause) {
  Growth growth(200 * kMs);
  growth.update(0, 0);
  for (int64_t at = 1; at < 8; ++at) growth.update(at * 100, at * 25 * kMs);
  EXPECT_EQ(growth.recent(), 700);
  growth.update(800, 10'000 * kMs);
  EXPECT_EQ(growth.recent(), 100);
}

TEST(Growth, TellsWhetherTheLastUpdateMoved) {
  Growth growth(200 * kMs);
  growth.update(0, 0);
  growth.update(200, 20 * kMs);
  EXPECT_TRUE(growth.moved());
  growth.update(200, 40 * kMs);
  EXPECT_FALSE(growth.moved());
}

}  // namespace
}  // namespace oomguard::budget

#include "shim/trace/poisson.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace oomguard::trace {
namespace {

TEST(PoissonTest, TheLogarithmIsThatOfLibm) {
  for (double x = 1e-17; x < 1e12; x *= 1.37) {
    EXPECT_NEAR(log_of(x), std::log(x), 1e-9 * std::max(1.0, std::fabs(std::log(x)))) << x;
  }
}

TEST(PoissonTest, TheChanceIsThatOfLibm) {
  for (double y = 1e-9; y < 100; y *= 1.21) {
    EXPECT_NEAR(chance_of(y) / -std::expm1(-y), 1.0, 1e-9) << y;
  }
  EXPECT_EQ(chance_of(0), 0);
}

TEST(PoissonTest, DistancesAreExponential) {
  constexpr uint64_t kMean = 512 * 1024;
  constexpr int kDraws = 200'000;
  uint64_t state = 42;
  double sum = 0;
  double squares = 0;
  int beyond_mean = 0;
  for (int i = 0; i < kDraws; ++i) {
    const auto distance = static_cast<double>(draw_distance(kMean, &state));
    sum += distance;
    squares += distance * distance;
    if (distance > kMean) ++beyond_mean;
  }
  const double mean = sum / kDraws;
  EXPECT_NEAR(mean / kMean, 1.0, 0.01);
  EXPECT_NEAR(std::sqrt(squares / kDraws - mean * mean) / kMean, 1.0, 0.01);
  EXPECT_NEAR(static_cast<double>(beyond_mean) / kDraws, std::exp(-1), 0.005);
}

TEST(PoissonTest, ASmallBlockStandsForTheMeanAndALargeOneForItself) {
  EXPECT_NEAR(static_cast<double>(weight_of(16, 512 * 1024)), 512 * 1024, 16);
  EXPECT_EQ(weight_of(64 * 1024 * 1024, 512 * 1024), 64 * 1024 * 1024);
  EXPECT_EQ(weight_of(0, 512 * 1024), 0);
}

TEST(PoissonTest, AWeightIsAsManyBlocksAsFitIntoIt) {
  EXPECT_EQ(blocks_of(1024, 512 * 1024, 7), 512u);
  EXPECT_EQ(blocks_of(1024, 1024, 7), 1u);
  EXPECT_EQ(blocks_of(0, 0, 7), 1u);
  uint64_t sum = 0;
  for (uint64_t random = 0; random < 1000; ++random) sum += blocks_of(1000, 2400, random);
  EXPECT_EQ(sum, 2400u);
}

}  // namespace
}  // namespace oomguard::trace

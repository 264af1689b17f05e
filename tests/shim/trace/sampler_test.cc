#include "shim/trace/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "shim/trace/poisson.h"

namespace oomguard::trace {
namespace {

constexpr uint64_t kKiB = 1024;
constexpr uint64_t kMiB = 1024 * kKiB;

class SamplerTest : public testing::Test {
 protected:
  void SetUp() override { configure(512 * kKiB); }
  void TearDown() override { configure(0); }

  // What the blocks of these sizes are estimated at, as the gate asks for each.
  int64_t estimate(const std::vector<uint64_t>& sizes) {
    int64_t sum = 0;
    for (const uint64_t size : sizes) sum += choose(&countdown_, size, &left_);
    return sum;
  }

  Countdown countdown_{};
  uint64_t left_ = 0;
};

double total_of(const std::vector<uint64_t>& sizes) {
  double sum = 0;
  for (const uint64_t size : sizes) sum += static_cast<double>(size);
  return sum;
}

std::vector<uint64_t> mixed_sizes(double bytes) {
  std::mt19937_64 random(11);
  std::lognormal_distribution<double> size(9.5, 2.5);
  std::vector<uint64_t> sizes;
  for (double sum = 0; sum < bytes; sum += static_cast<double>(sizes.back())) {
    sizes.push_back(static_cast<uint64_t>(std::min(size(random), 16.0 * kMiB)) + 1);
  }
  return sizes;
}

TEST_F(SamplerTest, EstimatesOfMixedSizesAreUnbiased) {
  const std::vector<uint64_t> sizes = mixed_sizes(256.0 * kMiB);
  constexpr int kRuns = 200;
  double sum = 0;
  for (int run = 0; run < kRuns; ++run) sum += static_cast<double>(estimate(sizes));
  EXPECT_NEAR(sum / kRuns / total_of(sizes), 1.0, 0.01);
}

TEST_F(SamplerTest, EstimatesOfOneSizeAreUnbiased) {
  for (const uint64_t size : {uint64_t{1}, uint64_t{48}, 4 * kKiB, 200 * kKiB, 900 * kKiB}) {
    const double total = 2048.0 * kMiB;
    const auto count = std::min<uint64_t>(
        4'000'000, static_cast<uint64_t>(total / static_cast<double>(size)));
    int64_t sum = 0;
    for (uint64_t i = 0; i < count; ++i) sum += choose(&countdown_, size, &left_);
    const double truth = static_cast<double>(size * count);
    // Four standard deviations of a sum of samples, each of which stands for about 512 KiB.
    const double allowed = 4 * std::sqrt(512.0 * kKiB * truth);
    EXPECT_NEAR(static_cast<double>(sum), truth, allowed) << size;
  }
}

TEST_F(SamplerTest, EstimatesStayUnbiasedWhileTheMeanChanges) {
  constexpr uint64_t kSize = 4 * kKiB;
  double sum = 0;
  uint64_t count = 0;
  for (int round = 0; round < 4000; ++round) {
    // Too often: doubled; not for long: halved.
    countdown_.captured_ns = round % 3 == 0 ? INT64_MAX / 2 : 0;
    for (int i = 0; i < 100; ++i, ++count) {
      const int64_t weight = choose(&countdown_, kSize, &left_);
      if (weight != 0) capture(&countdown_, kSize, weight);
      sum += static_cast<double>(weight);
    }
  }
  EXPECT_NEAR(sum / static_cast<double>(count * kSize), 1.0, 0.12);
}

TEST_F(SamplerTest, AfterALoopOfLargeBlocksSamplesAreNearAgainBeforeTheNextIsMet) {
  choose(&countdown_, 1, &left_);
  countdown_.mean_bytes = countdown_.drawn_mean = 64 * kMiB;
  left_ = 1024 * kMiB;
  for (int i = 0; i < 7; ++i) {
    countdown_.captured_ns = 0;  // long ago
    EXPECT_EQ(choose(&countdown_, 0, &left_), 0);
  }
  EXPECT_EQ(countdown_.mean_bytes, 512 * kKiB);
  EXPECT_EQ(countdown_.drawn_mean, 512 * kKiB);
  EXPECT_LT(left_, 40 * 512 * kKiB);
}

TEST_F(SamplerTest, EstimatesStayUnbiasedWhereTheMeanFallsBetweenTwoSamples) {
  constexpr uint64_t kSize = 64 * kKiB;
  constexpr int kRounds = 8000;
  choose(&countdown_, 1, &left_);
  double sum = 0;
  for (int round = 0; round < kRounds; ++round) {
    countdown_.mean_bytes = countdown_.drawn_mean = 8 * kMiB;
    left_ = draw_distance(8 * kMiB, &countdown_.random);
    countdown_.captured_ns = INT64_MAX / 2;  // a moment ago
    for (int i = 0; i < 40; ++i) {
      if (i == 20) countdown_.captured_ns = 0;
      sum += static_cast<double>(choose(&countdown_, kSize, &left_));
    }
  }
  EXPECT_NEAR(sum / (40.0 * kRounds * kSize), 1.0, 0.08);
}

TEST_F(SamplerTest, LargeBlocksAreExact) {
  for (const uint64_t size : {kMiB, kMiB + 1, 5 * kMiB, uint64_t{1} << 40}) {
    EXPECT_EQ(choose(&countdown_, size, &left_), static_cast<int64_t>(size));
  }
}

TEST_F(SamplerTest, LargeBlocksDoNotBringTheNextSampleNearer) {
  choose(&countdown_, 1, &left_);
  const uint64_t before = left_;
  choose(&countdown_, 64 * kMiB, &left_);
  EXPECT_EQ(left_, before);
}

TEST_F(SamplerTest, NothingIsChosenWhereItIsOff) {
  configure(0);
  EXPECT_EQ(choose(&countdown_, 64 * kMiB, &left_), 0);
  EXPECT_GE(left_, uint64_t{1} << 60);
}

TEST_F(SamplerTest, StacksThatAreReadTooOftenAreSpreadOut) {
  const uint64_t mean = [&] {
    choose(&countdown_, 1, &left_);
    return countdown_.mean_bytes;
  }();
  for (int i = 0; i < 1000; ++i) capture(&countdown_, 2 * kMiB, 2 * kMiB);
  EXPECT_GT(countdown_.mean_bytes, 4 * mean);
  EXPECT_LT(choose(&countdown_, 2 * kMiB, &left_), static_cast<int64_t>(2 * kMiB) + 1 + (1 << 30));
  // Some time later it is as before.
  for (int i = 0; i < 40; ++i) {
    countdown_.captured_ns -= 1'000'000'000;
    capture(&countdown_, 2 * kMiB, 2 * kMiB);
  }
  EXPECT_EQ(countdown_.mean_bytes, mean);
}

}  // namespace
}  // namespace oomguard::trace

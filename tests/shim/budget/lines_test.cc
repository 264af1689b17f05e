#include "shim/budget/lines.h"

#include <gtest/gtest.h>

namespace oomguard::budget {
namespace {

constexpr Bytes kGiB = 1024 * kMiB;
constexpr Bytes kSizes[] = {-kGiB,      -1,        0,        1,        4096,      64 * 1024,
                            kMiB,       10 * kMiB, 64 * kMiB, 512 * kMiB, kGiB,   6 * kGiB,
                            100 * kGiB, 4096 * kGiB, Bytes{1} << 60};
constexpr uint32_t kCpus[] = {0, 1, 2, 8, 64, 128, 1024, UINT32_MAX};

struct ReserveCase {
  const char* name;
  Bytes limit;
  uint32_t cpus;
  Bytes expected;
};
class ComputedReserve : public testing::TestWithParam<ReserveCase> {};

TEST_P(ComputedReserve, IsTheFormula) {
  EXPECT_EQ(computed_reserve(GetParam().limit, GetParam().cpus), GetParam().expected);
}

INSTANTIATE_TEST_SUITE_P(
    Lines, ComputedReserve,
    testing::Values(ReserveCase{"TinyLimitGetsTheFloor", 64 * kMiB, 1, 24 * kMiB},
                    ReserveCase{"SmallGroup", 600 * kMiB, 2, 24 * kMiB},
                    // 16 + 2 * 0.25 + 61.44 MiB
                    ReserveCase{"SixGiB", 6 * kGiB, 2, 16 * kMiB + kMiB / 2 + 6 * kGiB / 100},
                    ReserveCase{"ManyCpus", 2 * kGiB, 128, 16 * kMiB + 32 * kMiB + 2 * kGiB / 100},
                    ReserveCase{"LargeLimitGetsTheCeiling", 64 * kGiB, 2, 96 * kMiB},
                    ReserveCase{"NoLimitGetsTheCeiling", kNoLimit, 1, 96 * kMiB},
                    ReserveCase{"ZeroLimit", 0, 0, 24 * kMiB}),
    [](const auto& param) { return param.param.name; });

TEST(LinesTest, ReserveIsBoundedAndGrowsWithLimitAndCpus) {
  for (const uint32_t cpus : kCpus) {
    Bytes before = 0;
    for (const Bytes limit : kSizes) {
      if (limit < 0) continue;
      const Bytes reserve = computed_reserve(limit, cpus);
      EXPECT_GE(reserve, 24 * kMiB);
      EXPECT_LE(reserve, 96 * kMiB);
      EXPECT_GE(reserve, before) << limit << " on " << cpus;
      EXPECT_GE(computed_reserve(limit, cpus + (cpus < UINT32_MAX ? 1 : 0)), reserve);
      before = reserve;
    }
  }
}

TEST(LinesTest, LargeStartsAtASixtyFourthOfTheHeadroomButNeverBelow64KiB) {
  EXPECT_EQ(large_threshold(-kGiB), 64 * 1024);
  EXPECT_EQ(large_threshold(0), 64 * 1024);
  EXPECT_EQ(large_threshold(4 * kMiB), 64 * 1024);
  EXPECT_EQ(large_threshold(4 * kMiB + 64), 64 * 1024 + 1);
  EXPECT_EQ(large_threshold(6 * kGiB), 96 * kMiB);
}

TEST(LinesTest, OutsideGraceLargeStopsAtReserveAndBlindSpotAndSmallAtAQuarter) {
  const Lines plain = lines(40 * kMiB, 0, false, false);
  EXPECT_EQ(plain.large, 40 * kMiB);
  EXPECT_EQ(plain.small, 10 * kMiB);
  EXPECT_EQ(lines(40 * kMiB, 64 * kMiB, false, false).large, 104 * kMiB);
  EXPECT_EQ(lines(40 * kMiB, 64 * kMiB, false, false).small, 10 * kMiB);
}

TEST(LinesTest, GraceOpensHalfToLargeAndHalfOfItsLineToSmall) {
  const Lines grace = lines(40 * kMiB, 64 * kMiB, true, false);
  EXPECT_EQ(grace.large, 20 * kMiB);
  EXPECT_EQ(grace.small, 5 * kMiB);
  EXPECT_EQ(lines(4 * kMiB, 0, true, false).small, kMiB / 2);
}

TEST(LinesTest, GraceNeverTightensALineAndSmallNeverStopsBeforeLarge) {
  for (const Bytes reserve : kSizes) {
    for (const Bytes blind : {Bytes{0}, kMiB, 64 * kMiB}) {
      if (reserve < 0) continue;
      const Lines plain = lines(reserve, blind, false, false);
      const Lines grace = lines(reserve, blind, true, false);
      EXPECT_LE(grace.large, plain.large);
      EXPECT_LE(grace.small, plain.small);
      EXPECT_LE(plain.small, plain.large);
      EXPECT_LE(grace.small, grace.large);
      EXPECT_GE(grace.small, 0);
    }
  }
}

TEST(LinesTest, InAProgramOfCSmallRequestsStopTwiceAsEarly) {
  for (const bool grace : {false, true}) {
    const Lines line = lines(40 * kMiB, 8 * kMiB, grace, false, true);
    EXPECT_EQ(line.small, 2 * lines(40 * kMiB, 8 * kMiB, grace, false).small);
    EXPECT_EQ(line.large, lines(40 * kMiB, 8 * kMiB, grace, false).large);
    EXPECT_LE(line.small, line.large);
  }
  EXPECT_EQ(lines(40 * kMiB, 0, false, true, true).small, 40 * kMiB / 16) << "somebody else grows";
}

TEST(LinesTest, ABystandersSmallRequestsAreTheLastToRefuse) {
  for (const bool grace : {false, true}) {
    const Lines line = lines(40 * kMiB, 8 * kMiB, grace, true);
    EXPECT_LT(2 * line.small, lines(40 * kMiB, 8 * kMiB, grace, false).small + 1);
    EXPECT_EQ(line.large, lines(40 * kMiB, 8 * kMiB, grace, false).large);
  }
}

TEST(LinesTest, CreditIsNothingWithoutRoomAndAtMostOneMiB) {
  EXPECT_EQ(credit_slice(0, 1), 0);
  EXPECT_EQ(credit_slice(-kGiB, 1), 0);
  EXPECT_EQ(credit_slice(255, 1), 0);
  EXPECT_EQ(credit_slice(256 * kMiB, 1), kMiB);
  EXPECT_EQ(credit_slice(Bytes{1} << 60, 1), kMiB);
  EXPECT_EQ(credit_slice(64 * kMiB, 1), 256 * 1024);
}

TEST(LinesTest, AllCreditTogetherStaysUnder16MiBAndASixteenthOfTheRoomPer16Threads) {
  for (const Bytes room : kSizes) {
    for (const uint32_t threads : kCpus) {
      const Bytes slice = credit_slice(room, threads);
      EXPECT_GE(slice, 0);
      EXPECT_LE(slice * Bytes{threads}, 16 * kMiB);
      EXPECT_LE(slice * 256, room > 0 ? room : 0);
    }
  }
}

TEST(LinesTest, CreditShrinksWithThreadsAndGrowsWithRoom) {
  for (uint32_t threads = 1; threads < 4096; threads *= 2) {
    EXPECT_LE(credit_slice(kGiB, threads * 2), credit_slice(kGiB, threads));
    EXPECT_LE(credit_slice(kMiB, threads), credit_slice(kGiB, threads));
  }
}

TEST(LinesTest, AReadingIsNotValidWithoutHeadroomAndAtMostAQuarterOfASecond) {
  for (const uint32_t cpus : kCpus) {
    EXPECT_EQ(reading_valid_ns(0, cpus), 0);
    EXPECT_EQ(reading_valid_ns(-kGiB, cpus), 0);
    int64_t before = 0;
    for (const Bytes headroom : kSizes) {
      const int64_t valid = reading_valid_ns(headroom, cpus);
      EXPECT_GE(valid, before);
      EXPECT_LE(valid, 250'000'000);
      before = valid;
    }
  }
}

TEST(LinesTest, WhileAReadingIsValidNoMachineFillsMoreThanHalfOfIt) {
  for (const uint32_t cpus : {1u, 2u, 4u, 64u}) {
    const int64_t speed = kFillBytesPerNs * (cpus < 4 ? cpus : 4);
    for (const Bytes headroom : {kMiB, 100 * kMiB, kGiB, 10 * kGiB}) {
      EXPECT_LE(reading_valid_ns(headroom, cpus) * speed, headroom / 2);
    }
  }
}

TEST(LinesTest, TickFollowsTheHeadroomBetweenItsBounds) {
  EXPECT_EQ(tick_ns(-kGiB, 2, false), 1'000'000);
  EXPECT_EQ(tick_ns(0, 2, true), 5'000'000);
  EXPECT_EQ(tick_ns(Bytes{1} << 60, 2, false), 250'000'000);
  EXPECT_EQ(tick_ns(240 * 1'000'000, 2, false), 10'000'000);
  EXPECT_EQ(tick_ns(240 * 1'000'000, 0, false), 20'000'000);
  for (const uint32_t cpus : kCpus) {
    int64_t before = 0;
    for (const Bytes headroom : kSizes) {
      const int64_t tick = tick_ns(headroom, cpus, false);
      EXPECT_GE(tick, before);
      EXPECT_GE(tick_ns(headroom, cpus, true), tick) << "a calm process is looked at no more often";
      before = tick;
    }
  }
}

TEST(LinesTest, DozesLongerTheLongerNothingMovesButNeverPastWhatOneThreadCouldFill) {
  EXPECT_EQ(doze_ns(kGiB, 0), 0);
  EXPECT_EQ(doze_ns(-kGiB, INT64_MAX), 32'000'000);
  EXPECT_EQ(doze_ns(40 * kMiB, INT64_MAX), 32'000'000);
  EXPECT_EQ(doze_ns(10 * kGiB, INT64_MAX), 250'000'000);
  EXPECT_EQ(doze_ns(10 * kGiB, 640'000'000), 10'000'000);
  for (const Bytes headroom : {200 * kMiB, 400 * kMiB}) {
    EXPECT_LE(doze_ns(headroom, INT64_MAX) * 11 / 4, headroom);
  }
}

}  // namespace
}  // namespace oomguard::budget

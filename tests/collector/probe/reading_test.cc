#include "collector/probe/reading.h"

#include <gtest/gtest.h>

namespace oomguard::probe {
namespace {

Reading reading_of(std::initializer_list<Level> levels) {
  Reading reading;
  for (const Level& level : levels) reading.levels[reading.level_count++] = level;
  return reading;
}

Level level(Bytes limit, Bytes usage, Bytes reclaimable = 0, Bytes swap = 0) {
  return Level{LimitKind::kCgroupV2, false, limit, usage, reclaimable, swap, kNoPath};
}

TEST(Headroom, IsThatOfTheTightestLevel) {
  const Headroom least = headroom(reading_of({level(100, 20), level(90, 50), level(500, 0)}), 0);
  EXPECT_EQ(least.bytes, 40);
  EXPECT_EQ(least.level, 1u);
}

TEST(Headroom, AddsWhatCanBeReclaimed) {
  EXPECT_EQ(headroom(reading_of({level(100, 100, 30)}), 0).bytes, 30);
}

TEST(Headroom, AddsTheShareOfTheSwap) {
  EXPECT_EQ(headroom(reading_of({level(100, 90, 0, 50)}), 500).bytes, 35);
  EXPECT_EQ(headroom(reading_of({level(100, 90, 0, 50)}), 0).bytes, 10);
}

TEST(Headroom, SwapInUseIsPartOfTheShare) {
  Level half_full = level(100, 90, 0, 50);
  half_full.swap_used = 30;
  EXPECT_EQ(headroom(reading_of({half_full}), 500).bytes, 20) << "half of 80, less 30";
  EXPECT_EQ(headroom(reading_of({half_full}), 1000).bytes, 60);
  EXPECT_EQ(headroom(reading_of({half_full}), 200).bytes, 10) << "more is used than the share";
}

TEST(Headroom, IsNegativeAboveALimit) {
  EXPECT_EQ(headroom(reading_of({level(100, 130)}), 0).bytes, -30);
}

TEST(Headroom, IsUnlimitedWhereNothingLimits) {
  EXPECT_EQ(headroom(Reading{}, 500).bytes, kUnlimited);
  const Headroom none = headroom(reading_of({level(kUnlimited, 5)}), 500);
  EXPECT_EQ(none.bytes, kUnlimited);
  EXPECT_EQ(none.level, UINT32_MAX);
}

TEST(Headroom, DoesNotOverflow) {
  EXPECT_EQ(headroom(reading_of({level(0, kUnlimited)}), 0).bytes, INT64_MIN / 2);
  EXPECT_EQ(headroom(reading_of({level(kUnlimited - 1, 0, kUnlimited, kUnlimited)}), 1000).bytes,
            kUnlimited);
}

}  // namespace
}  // namespace oomguard::probe

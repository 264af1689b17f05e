#include "shim/budget/escalation.h"

#include <gtest/gtest.h>

namespace oomguard::budget {
namespace {

constexpr Bytes kGiB = 1024 * kMiB;

// 600 MiB: reserve 24, small line 6, two CPUs. This process fills memory slowly.
Situation small_group(Bytes headroom) {
  Situation seen;
  seen.headroom = headroom;
  seen.reserve = 24 * kMiB;
  seen.small_line = 6 * kMiB;
  seen.counters_lag = kMiB / 2;
  seen.per_look = kMiB;
  seen.ours = true;
  return seen;
}

Situation filling(Bytes headroom, bool lendable) {
  Situation seen = small_group(headroom);
  seen.filling = true;
  seen.lendable = lendable;
  return seen;
}

Situation lent(Bytes headroom, Bytes in_file) {
  Situation seen = filling(headroom, true);
  seen.grew_since_lending = false;
  seen.lent = true;
  seen.in_file = in_file;
  seen.over_ns = headroom - in_file < kFits ? kOverNs : 0;
  seen.file_growth = 4 * kMiB;
  seen.file_per_look = kMiB;
  seen.file_left = kGiB;
  return seen;
}

bool nothing(const Steps& steps) {
  return !steps.lend && !steps.alarm && !steps.end && !steps.stand;
}

TEST(EscalationTest, LinesLieInOrder) {
  for (const Bytes per_look : {Bytes{0}, kMiB, 20 * kMiB, kGiB}) {
    for (const Bytes reserve : {24 * kMiB, 78 * kMiB}) {
      Situation seen = filling(0, false);
      seen.per_look = per_look;
      seen.reserve = reserve;
      EXPECT_LT(end_line(seen), last_line(seen));
      EXPECT_LE(last_line(seen), early_line(seen));
      EXPECT_GE(last_line(seen) - end_line(seen), 8 * kMiB) << "room for an exception";
      EXPECT_LE(early_line(seen), kFarthestLine) << "however fast it grows";
      seen.per_late_look = seen.per_delivery = kGiB;
      EXPECT_LE(lending_line(seen), kFarthestLine);
    }
  }
}

TEST(EscalationTest, WhoDoesNotGrowIsLeftAlone) {
  Situation seen = filling(0, true);
  seen.ours = false;
  EXPECT_TRUE(nothing(next_steps(seen)));
}

// What it grew by while the other one ends would be the kernel's reason to kill.
TEST(EscalationTest, WhoGrowsBesideTheOneThatIsToActStandsStillAtTheEndLine) {
  Situation seen = filling(3 * kMiB, false);
  seen.ours = false;
  seen.growing = true;
  EXPECT_TRUE(next_steps(seen).stand);
  EXPECT_FALSE(next_steps(seen).end || next_steps(seen).alarm);
  EXPECT_EQ(next_steps(seen).line, end_line(seen));
  seen.headroom = 4 * kMiB;
  EXPECT_FALSE(next_steps(seen).stand) << "above it nobody is in the way";
  seen.headroom = 3 * kMiB;
  seen.growing = false;
  EXPECT_TRUE(nothing(next_steps(seen)));
}

TEST(EscalationTest, GrowthThroughTheGateGetsItsExceptionOnlyUnderTheSmallLine) {
  EXPECT_TRUE(nothing(next_steps(small_group(6 * kMiB))));
  const Steps steps = next_steps(small_group(4 * kMiB));
  EXPECT_TRUE(steps.alarm);
  EXPECT_FALSE(steps.lend || steps.end);
  EXPECT_FALSE(next_steps(small_group(-kMiB)).end) << "what dips there is small";
}

TEST(EscalationTest, WhoStaysAtTheBottomAndGrowsIsEnded) {
  Situation seen = small_group(0);
  seen.growing = true;
  seen.at_bottom_ns = kAtBottomNs - 1;
  EXPECT_FALSE(next_steps(seen).end) << "an exception lets go of something";
  seen.at_bottom_ns = kAtBottomNs;
  EXPECT_TRUE(next_steps(seen).end);
  EXPECT_EQ(next_steps(seen).line, kDipLine);
  seen.growing = false;
  EXPECT_FALSE(next_steps(seen).end);
}

TEST(EscalationTest, WhoGrowsPastAnExceptionThatDoesNotArriveIsEndedBeforeTheNextLookComesTooLate) {
  Situation seen = small_group(kMiB / 2);
  seen.growing = true;
  seen.per_look = kMiB;
  EXPECT_FALSE(next_steps(seen).end);
  seen.unanswered_ns = kAtBottomNs;
  EXPECT_TRUE(next_steps(seen).end);
  seen.per_look = kMiB / 4;
  EXPECT_FALSE(next_steps(seen).end);
  seen.per_look = 4 * kMiB;
  seen.headroom = kMiB;
  EXPECT_FALSE(next_steps(seen).end);
}

TEST(EscalationTest, GrowthThroughTheGateIsLentAtTheEndAndEndedWhereNoExceptionCanArrive) {
  Situation seen = small_group(3 * kMiB);
  seen.lendable = true;
  EXPECT_TRUE(next_steps(seen).lend);
  EXPECT_FALSE(next_steps(seen).end);
  seen.raises = false;
  EXPECT_FALSE(next_steps(seen).end) << "lending first";
  seen.lendable = false;
  EXPECT_TRUE(next_steps(seen).end);
  seen.headroom = 4 * kMiB;
  EXPECT_FALSE(next_steps(seen).lend || next_steps(seen).end);
  seen.per_look = 40 * kMiB;
  seen.headroom = seen.reserve / 4;
  EXPECT_FALSE(next_steps(seen).end) << "its small requests were refused before";
}

TEST(EscalationTest, WhoCopiesPagesAfterAForkGetsItsExceptionEarlierAndNoEarlierEnd) {
  Situation seen = small_group(0);
  seen.reserve = 24 * kMiB;
  seen.headroom = seen.reserve / 2 - 1;
  seen.per_look = 10 * kMiB;
  seen.per_delivery = 30 * kMiB;
  EXPECT_TRUE(nothing(next_steps(seen)));
  seen.copying = true;
  EXPECT_TRUE(next_steps(seen).alarm);
  EXPECT_FALSE(next_steps(seen).end);
  seen.headroom = 3 * kMiB;
  EXPECT_FALSE(next_steps(seen).end);
  seen.headroom = seen.reserve / 2;
  EXPECT_TRUE(nothing(next_steps(seen)));
}

TEST(EscalationTest, WhatIsNotFilledYetIsLentWhereItAndOneLookWouldTakeAll) {
  Situation seen = small_group(15 * kMiB);
  seen.reserve = 24 * kMiB;
  seen.lendable = true;
  seen.per_look = 20 * kMiB;
  EXPECT_TRUE(nothing(next_steps(seen)))
      << "all that was granted is filled: the gate judges what comes";
  seen.in_flight = 6 * kMiB;
  EXPECT_TRUE(next_steps(seen).lend && next_steps(seen).lend_empty);
  EXPECT_FALSE(next_steps(seen).alarm || next_steps(seen).end);
  seen.per_look = 4 * kMiB;
  EXPECT_TRUE(nothing(next_steps(seen))) << "there is another look before that";
  seen.per_look = 20 * kMiB;
  seen.headroom = seen.reserve;
  EXPECT_TRUE(nothing(next_steps(seen))) << "nothing but what was granted takes what is left";
  seen.headroom = 15 * kMiB;
  seen.lendable = false;
  EXPECT_TRUE(nothing(next_steps(seen))) << "it fits";
}

TEST(EscalationTest, WhereNoExceptionCanArriveTheEndIsInTimeInstead) {
  Situation fast = filling(20 * kMiB, false);
  fast.per_delivery = 18 * kMiB;
  EXPECT_FALSE(next_steps(fast).end);
  fast.raises = false;
  EXPECT_TRUE(next_steps(fast).end);
  EXPECT_GT(next_steps(fast).line, fast.headroom);
  fast.per_delivery = 200 * kMiB;
  fast.headroom = fast.reserve;
  EXPECT_FALSE(next_steps(fast).end) << "not before the reserve is touched";
}

TEST(EscalationTest, WhereNothingCanBeLentTheExceptionComesEarly) {
  EXPECT_TRUE(nothing(next_steps(filling(13 * kMiB, false))));
  EXPECT_TRUE(next_steps(filling(11 * kMiB, false)).alarm);
  Situation fast = filling(40 * kMiB, false);
  fast.per_look = 20 * kMiB;
  EXPECT_TRUE(next_steps(fast).alarm) << "the more it can grow, the earlier";
}

TEST(EscalationTest, FastGrowthGetsItsExceptionInTimeToArriveButNotBeforeTheReserveIsTouched) {
  Situation fast = filling(20 * kMiB, false);
  fast.per_delivery = 18 * kMiB;
  EXPECT_TRUE(next_steps(fast).alarm);
  fast.per_delivery = 200 * kMiB;
  fast.headroom = fast.reserve + kMiB;
  EXPECT_TRUE(nothing(next_steps(fast)));
}

TEST(EscalationTest, FastGrowthIsLentEarlier) {
  Situation fast = filling(60 * kMiB, true);
  EXPECT_FALSE(next_steps(fast).lend);
  fast.per_delivery = 100 * kMiB;
  EXPECT_TRUE(next_steps(fast).lend);
  EXPECT_FALSE(next_steps(fast).alarm);
  fast.headroom = 140 * kMiB;
  EXPECT_FALSE(next_steps(fast).lend);
  fast.per_late_look = 80 * kMiB;
  EXPECT_TRUE(next_steps(fast).lend) << "where looks are late";
}

TEST(EscalationTest, WherePagesCanBeLentNothingHappensBeforeTheLastMoment) {
  EXPECT_TRUE(nothing(next_steps(filling(13 * kMiB, true))));
  const Steps steps = next_steps(filling(11 * kMiB, true));
  EXPECT_TRUE(steps.lend);
  EXPECT_FALSE(steps.alarm || steps.end);
}

TEST(EscalationTest, WhatIsFilledToTheEndWithinTheLimitGetsNoException) {
  EXPECT_TRUE(nothing(next_steps(lent(11 * kMiB, 7 * kMiB)))) << "four MiB under the limit";
  const Steps steps = next_steps(lent(11 * kMiB, 16 * kMiB));
  EXPECT_TRUE(steps.alarm) << "this would not have fit";
  EXPECT_FALSE(steps.lend || steps.end);
}

TEST(EscalationTest, WhatComesBackIsNotLentAgainAtOnce) {
  for (const Bytes reserve : {Bytes{0}, 24 * kMiB, 96 * kMiB}) {
    for (const Bytes pace : {Bytes{0}, 20 * kMiB, kGiB}) {
      Situation seen = filling(0, true);
      seen.reserve = reserve;
      seen.per_look = seen.per_delivery = pace;
      EXPECT_GE(room_line(seen, true), lending_line(seen));
      EXPECT_GE(room_line(seen, true), least_room(seen));
      EXPECT_GE(room_line(seen, false), room_line(seen, true) + least_room(seen));
    }
  }
}

TEST(EscalationTest, CountersThatContradictEachOtherForAMomentAreNoAlarm) {
  Situation seen = lent(11 * kMiB, 16 * kMiB);
  seen.over_ns = kOverNs - 1;
  EXPECT_TRUE(nothing(next_steps(seen)));
}

TEST(EscalationTest, LentPagesThatNobodyFillsAnyMoreGetNoException) {
  Situation seen = lent(11 * kMiB, 100 * kMiB);
  seen.file_growth = 0;
  EXPECT_TRUE(nothing(next_steps(seen)));
}

TEST(EscalationTest, GrowthBesideTheLentPagesIsLentAgainAndGetsItsException) {
  Situation seen = lent(11 * kMiB, 0);
  seen.file_growth = 0;
  seen.grew_since_lending = true;
  EXPECT_TRUE(next_steps(seen).lend);
  EXPECT_FALSE(next_steps(seen).alarm);
  seen.headroom = 6 * kMiB;
  EXPECT_TRUE(next_steps(seen).alarm);
}

TEST(EscalationTest, EndsOnlyUnderTheEndLineAndOnlyWhereNothingCanBeLent) {
  EXPECT_FALSE(next_steps(filling(4 * kMiB, false)).end);
  EXPECT_TRUE(next_steps(filling(3 * kMiB, false)).end);
  EXPECT_TRUE(next_steps(filling(3 * kMiB, false)).alarm) << "sent where it was not yet";
  EXPECT_FALSE(next_steps(filling(3 * kMiB, true)).end);
}

TEST(EscalationTest, SlowGrowthIsNoisyOnlyAwayFromTheEnd) {
  Situation seen = small_group(13 * kMiB);
  seen.creeping = true;
  EXPECT_TRUE(nothing(next_steps(seen)));
  seen.headroom = 3 * kMiB;
  EXPECT_TRUE(next_steps(seen).end);
}

TEST(EscalationTest, EndsWhenTheFileIsNearlyFullAndStillBeingFilled) {
  Situation seen = lent(11 * kMiB, kGiB);
  seen.file_left = 9 * kMiB;
  EXPECT_TRUE(next_steps(seen).end && next_steps(seen).file_is_full);
  EXPECT_TRUE(next_steps(seen).alarm);
  seen.file_growth = 0;
  EXPECT_FALSE(next_steps(seen).end);
}

}  // namespace
}  // namespace oomguard::budget

#include "shim/budget/tide.h"

#include <gtest/gtest.h>

namespace oomguard::budget {
namespace {

constexpr int64_t kMs = 1'000'000;

// A process of 100 MiB on a limit where 300 MiB are needed, looked at every 5 ms.
class TideTest : public testing::Test {
 protected:
  TideTest() { step(0, 0, 0); }
  void step(Bytes own, Bytes others, Bytes granted, int64_t ns = 5 * kMs) {
    own_ += own;
    needed_ += own + others;
    granted_ += granted;
    now_ns_ += ns;
    tide_.update(own_, needed_, granted_, short_, under_, in_flight_, now_ns_);
  }
  void steps(int count, Bytes own, Bytes others, Bytes granted) {
    for (int i = 0; i < count; ++i) step(own, others, granted);
  }

  Tide tide_;
  bool short_ = true;
  Bytes under_ = 0;  // the line for large requests
  Bytes in_flight_ = 0;
  Bytes own_ = 100 * kMiB;
  Bytes needed_ = 300 * kMiB;
  Bytes granted_ = 0;
  int64_t now_ns_ = 1'000 * kMs;
};

TEST_F(TideTest, WhatWasGrantedAndIsFilledIsAnnounced) {
  step(0, 0, 60 * kMiB);
  steps(20, 3 * kMiB, 0, 0);
  EXPECT_FALSE(tide_.filling());
  EXPECT_FALSE(tide_.creeping());
  EXPECT_TRUE(tide_.ours());
}

TEST_F(TideTest, WhatNobodyAskedForIsFilling) {
  steps(2, 3 * kMiB, 0, 0);
  EXPECT_FALSE(tide_.filling()) << "noise";
  steps(2, 3 * kMiB, 0, 0);
  EXPECT_TRUE(tide_.filling());
  EXPECT_TRUE(tide_.creeping());
}

TEST_F(TideTest, SlowGrowthCreeps) {
  steps(400, 8 * 1024, 0, 0);  // 1.6 MiB a second
  EXPECT_FALSE(tide_.filling());
  EXPECT_TRUE(tide_.creeping());
  EXPECT_TRUE(tide_.ours());
}

TEST_F(TideTest, WhatComesWithLargeBlocksIsNoCreeping) {
  short_ = false;
  step(0, 0, 500 * kMiB);
  steps(100, 5 * kMiB + 30 * 1024, 0, 0);  // 3 MiB besides
  EXPECT_FALSE(tide_.creeping());
  steps(40, 64 * 1024, 0, 0);
  EXPECT_TRUE(tide_.creeping());
}

TEST_F(TideTest, VerySlowGrowthIsSeenFromWhereMemoryBecameShort) {
  steps(4000, 1024, 0, 0);  // 200 KiB a second
  EXPECT_TRUE(tide_.creeping());
  EXPECT_TRUE(tide_.ours());
  short_ = false;
  step(0, 0, 0);
  short_ = true;
  steps(1000, 1024, 0, 0);
  EXPECT_FALSE(tide_.creeping()) << "counted anew";
}

TEST_F(TideTest, ANeighboursGrowthIsNotOurs) {
  steps(20, kMiB / 4, 4 * kMiB, 0);
  EXPECT_FALSE(tide_.ours());
}

// Five members of a tree that grow alike: none is half of it, and together they are all of it.
TEST_F(TideTest, GrowthOfSeveralThatAreAskedAlikeIsTheirs) {
  steps(20, kMiB, 4 * kMiB, 0);
  EXPECT_FALSE(tide_.ours());
  EXPECT_TRUE(tide_.ours(4 * tide_.recent()));
  EXPECT_TRUE(tide_.grows());
  steps(20, 0, 4 * kMiB, 0);
  EXPECT_FALSE(tide_.grows());
}

TEST_F(TideTest, MappedPagesThatWereThereAlreadyAreNotFilled) {
  steps(40, 3 * kMiB, -3 * kMiB, 0);
  EXPECT_FALSE(tide_.filling());
  EXPECT_FALSE(tide_.creeping());
}

TEST_F(TideTest, WhatGrewBeforeANeighbourBeganIsNotItsGrowth) {
  steps(20, 10 * kMiB, 0, 10 * kMiB);
  EXPECT_TRUE(tide_.ours());
  steps(11, 4096, 8 * kMiB, 0);
  EXPECT_GE(tide_.recent() * 2, tide_.recent_needed()) << "of the longer window most was ours";
  EXPECT_FALSE(tide_.ours());
  steps(20, 0, 0, 0);
  EXPECT_FALSE(tide_.ours()) << "the kernel is about to kill the neighbour, and nobody grows";
}

TEST_F(TideTest, StandsStillWhereNeitherMovesMuch) {
  step(0, 64 * 4096, 0);
  EXPECT_TRUE(tide_.still()) << "a step of the kernel's counters";
  step(0, kMiB, 0);
  EXPECT_FALSE(tide_.still());
  step(4096, 0, 0);
  EXPECT_FALSE(tide_.still());
}

TEST_F(TideTest, PaceIsTheFasterOfTheWindowAndTheNewestSteps) {
  step(20 * kMiB, 0, 0);
  EXPECT_EQ(tide_.grown_in(10 * kMs), 40 * kMiB) << "begun just now";
  steps(10, 0, 0, 0);
  EXPECT_GT(tide_.grown_in(10 * kMs), 8 * kMiB) << "it may go on in a moment";
  steps(80, 0, 0, 0);
  EXPECT_LT(tide_.grown_in(10 * kMs), kMiB);
}

TEST_F(TideTest, PaceOfAFileIsThatOfItsLimitAndNotTheJumpWhenTheCallEnds) {
  steps(8, 0, 5 * kMiB, 5 * kMiB);  // the kernel fills it
  step(40 * kMiB, -40 * kMiB, 0, kMs);
  EXPECT_LE(tide_.grown_in(5 * kMs), 5 * kMiB);
}

TEST_F(TideTest, WhatWasGrantedJustBeforeMemoryBecameShortIsAnnounced) {
  short_ = false;
  step(0, 0, 40 * kMiB);
  short_ = true;
  steps(160, kMiB / 4, 0, 0);
  EXPECT_FALSE(tide_.creeping());
  steps(20, kMiB / 4, 0, 0);
  EXPECT_TRUE(tide_.creeping()) << "more than that";
}

TEST_F(TideTest, WhatIsStillToBeFilledWhenTheFirstLookOrTheShortageComesIsAnnounced) {
  tide_ = Tide{};
  short_ = false;
  in_flight_ = 60 * kMiB;
  step(0, 0, 500 * kMiB);
  in_flight_ = 0;
  steps(12, 5 * kMiB, 0, 0);
  EXPECT_FALSE(tide_.filling());
  EXPECT_FALSE(tide_.creeping());

  step(0, 0, 60 * kMiB);
  in_flight_ = 60 * kMiB;
  steps(1000, 0, 0, 0);
  short_ = true;
  steps(12, 5 * kMiB, 0, 0);
  EXPECT_TRUE(tide_.filling()) << "it was granted long ago";
  steps(1000, 0, 0, 0);
  EXPECT_FALSE(tide_.creeping());
  steps(1, 3 * kMiB, 0, 0);
  EXPECT_TRUE(tide_.creeping());
}

TEST_F(TideTest, ShrinkingIsNoGrowth) {
  steps(10, -5 * kMiB, 0, 0);
  EXPECT_EQ(tide_.recent(), 0);
  EXPECT_EQ(tide_.grown_in(10 * kMs), 0);
  EXPECT_FALSE(tide_.ours());
}

// A mapping that nobody was asked for is filled beside a block that was granted and stays empty.
TEST_F(TideTest, WhatSinksUnderTheLineWasAnnouncedByNobodyWhateverWasGrantedBefore) {
  step(0, 0, 200 * kMiB);
  steps(10, 2 * kMiB, 0, 0);
  EXPECT_FALSE(tide_.filling() || tide_.creeping() || tide_.sinking()) << "it may be that block";
  for (int i = 0; i < 4; ++i) {
    EXPECT_FALSE(tide_.sinking());
    under_ += kMiB;
    step(kMiB, 0, 0);
  }
  EXPECT_TRUE(tide_.sinking());
  step(0, 0, 2 * kMiB);
  EXPECT_FALSE(tide_.sinking()) << "small requests may go there";
  steps(1, 2 * kMiB, 0, 0);
  EXPECT_TRUE(tide_.sinking());
  under_ = 0;
  step(0, 0, 0);
  EXPECT_FALSE(tide_.sinking()) << "above it again";
}

// Its pages are copied after a fork: what was granted under the line before was freed again.
TEST_F(TideTest, WhatGrowsInAMomentWithoutARequestSinksHoweverMuchWasGrantedBefore) {
  under_ = kMiB;
  step(kMiB, 0, kMiB);
  steps(10, 0, 0, 20 * kMiB);  // and freed
  steps(16, 2 * kMiB, 0, 0);
  EXPECT_FALSE(tide_.sinking()) << "it may be those";
  steps(4, 2 * kMiB, 0, 0);
  EXPECT_TRUE(tide_.sinking());
  in_flight_ = kMiB;
  steps(1, 2 * kMiB, 0, 0);
  EXPECT_FALSE(tide_.sinking()) << "it may be the rest of a block";
}

// The limit had nothing of it.
TEST_F(TideTest, PagesThatAChildHoldsAsWellAndThatAreUnmappedHideNoGrowthUnderTheLine) {
  under_ = kMiB;
  step(kMiB, 0, 0);
  step(-25 * kMiB, 25 * kMiB, 0);
  steps(3, kMiB, 0, 0);
  EXPECT_FALSE(tide_.sinking());
  step(kMiB, 0, 0);
  EXPECT_TRUE(tide_.sinking());
  step(-25 * kMiB, 0, 0);  // this it had
  steps(5, 4 * kMiB, 0, 0);
  EXPECT_FALSE(tide_.sinking());
}

TEST_F(TideTest, OnlyWhatOfAStepLiesUnderTheLineSinks) {
  under_ = 3 * kMiB;
  step(40 * kMiB, 0, 0);
  EXPECT_FALSE(tide_.sinking());
  under_ = 5 * kMiB;
  step(2 * kMiB, 0, 0);
  EXPECT_TRUE(tide_.sinking());
}

TEST_F(TideTest, ARestartForgetsWhoseGrowthItWasAndKeepsThePace) {
  steps(10, 5 * kMiB, 0, 0);
  tide_.restart(own_, now_ns_);
  EXPECT_FALSE(tide_.filling() || tide_.creeping() || tide_.sinking() || tide_.ours());
  EXPECT_GE(tide_.grown_in(5 * kMs), 4 * kMiB);
}

}  // namespace
}  // namespace oomguard::budget

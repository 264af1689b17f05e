#include "shim/budget/reread.h"

#include <gtest/gtest.h>

namespace oomguard::budget {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr uint64_t kAll = ~uint64_t{0};

TEST(SampledPages, ASinglePassBringsNoneBack) {
  SampledPages pages;
  uint64_t window = 0xff;
  for (int step = 0; step < 64; ++step) {
    pages.look(window);
    window <<= 1;
  }
  pages.look(0);
  EXPECT_EQ(pages.back(), 0);
}

TEST(SampledPages, ASecondPassBringsBackWhatWasSeenToGo) {
  SampledPages pages;
  for (int pass = 0; pass < 2; ++pass) {
    for (int step = 0; step < 32; ++step) pages.look(uint64_t{1} << step);
  }
  EXPECT_EQ(pages.back(), 32);
}

TEST(SampledPages, WhatStaysNeverComesBack) {
  SampledPages pages;
  EXPECT_TRUE(pages.look(kAll));
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(pages.look(kAll));
  EXPECT_EQ(pages.back(), 0);
}

TEST(SampledPages, AProgramThatReadsMoreAndMoreGivesNothingBack) {
  SampledPages pages;
  for (uint64_t present = 1; present != kAll; present = present << 1 | 1) pages.look(present);
  EXPECT_EQ(pages.back(), 0);
}

constexpr Rereading kSequential{
    .most_back = 20, .read_again_bytes = 3ll << 30, .major_faults = 30, .ns = 3 * kSecond};

TEST(Rereading, ReadingAheadHidesTheFaultsButNotTheRefaults) {
  EXPECT_TRUE(is_rereading(kSequential));
}

TEST(Rereading, ASlowDiskShowsInTheFaults) {
  Rereading seen = kSequential;
  seen.read_again_bytes = 2 << 20;
  seen.major_faults = 500;
  EXPECT_TRUE(is_rereading(seen));
  seen.major_faults = 30;
  EXPECT_FALSE(is_rereading(seen)) << "neither is felt";
}

TEST(Rereading, RefaultsOfOthersAloneAreNothing) {
  Rereading seen = kSequential;
  seen.most_back = 3;
  EXPECT_FALSE(is_rereading(seen));
}

TEST(Rereading, AMomentIsNotNamed) {
  Rereading seen = kSequential;
  seen.ns = kSecond;
  EXPECT_FALSE(is_rereading(seen));
  seen.ns = 0;
  EXPECT_FALSE(is_rereading(seen));
}

TEST(Rereading, WithoutRefaultsAnyFaultsOfTheDiskCount) {
  Rereading seen = kSequential;
  seen.read_again_bytes = -1;
  EXPECT_TRUE(is_rereading(seen));
  seen.major_faults = 2;
  EXPECT_FALSE(is_rereading(seen)) << "pages that were given back by hand";
}

}  // namespace
}  // namespace oomguard::budget

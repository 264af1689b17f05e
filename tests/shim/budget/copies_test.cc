#include "shim/budget/copies.h"

#include <gtest/gtest.h>

namespace oomguard::budget {
namespace {

TEST(CopiesTest, WrittenPagesThatAForkSharesAreGrowthThoughOwnMemoryStays) {
  Copies copies;
  copies.update(100 * kMiB, 300 * kMiB, 320 * kMiB);
  EXPECT_EQ(copies.total(), 0) << "what was before is no growth";
  copies.update(110 * kMiB, 300 * kMiB, 330 * kMiB);
  EXPECT_EQ(copies.total(), 10 * kMiB);
}

TEST(CopiesTest, WhatOwnMemoryShowsIsNotCountedTwice) {
  Copies copies;
  copies.update(0, 100 * kMiB, 100 * kMiB);
  copies.update(50 * kMiB, 150 * kMiB, 150 * kMiB);
  EXPECT_EQ(copies.total(), 0);
}

TEST(CopiesTest, SomebodyElsesGrowthIsNotTakenForCopies) {
  Copies copies;
  copies.update(0, 100 * kMiB, 100 * kMiB);
  copies.update(0, 100 * kMiB, 200 * kMiB);
  EXPECT_EQ(copies.total(), 0);
}

TEST(CopiesTest, FaultsThatCostTheLimitNothingAreNoCopies) {
  Copies copies;
  copies.update(0, 100 * kMiB, 100 * kMiB);
  copies.update(80 * kMiB, 100 * kMiB, 100 * kMiB);  // the zero page, files
  EXPECT_EQ(copies.total(), 0);
  copies.update(80 * kMiB, 100 * kMiB, 180 * kMiB);
  EXPECT_LE(copies.total(), kMiB) << "long past, but for what a counter may lag";
}

TEST(CopiesTest, ACounterThatLagsIsWaitedFor) {
  Copies copies;
  copies.update(0, 100 * kMiB, 100 * kMiB);
  copies.update(kMiB / 2, 100 * kMiB, 100 * kMiB);
  copies.update(kMiB / 2, 100 * kMiB, 100 * kMiB + kMiB / 2);
  EXPECT_EQ(copies.total(), kMiB / 2);
}

}  // namespace
}  // namespace oomguard::budget

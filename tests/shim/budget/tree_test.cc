#include "shim/budget/tree.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/shim/budget/harness.h"

namespace oomguard::budget::tree {
namespace {

using test::expect_in_child;

constexpr int64_t kMs = 1'000'000;
constexpr uint64_t kManyFaults = 1 << 20;

TEST(CountedElsewhere, WhatTwoShareIsTheOtherOnes) {
  // 600 MiB inherited, of which 100 were written to since, and 50 of its own.
  const probe::MemoryShares shares{650 * kMiB, 400 * kMiB, 0, 0, 500 * kMiB};
  EXPECT_EQ(counted_elsewhere(shares, 600 * kMiB, true), 500 * kMiB);
}

TEST(CountedElsewhere, NeverMoreThanWasInherited) {
  const probe::MemoryShares shares{700 * kMiB, 250 * kMiB, 0, 0, 700 * kMiB};
  EXPECT_EQ(counted_elsewhere(shares, 600 * kMiB, true), 600 * kMiB);
}

TEST(CountedElsewhere, OfManySharersTheDirtyPagesSayHowMuchIsShared) {
  // Four share 400 of 600 MiB: a share of 100, and 200 alone.
  const probe::MemoryShares shares{600 * kMiB, 300 * kMiB, 0, 0, 400 * kMiB};
  EXPECT_EQ(counted_elsewhere(shares, 600 * kMiB, true), 400 * kMiB);
}

TEST(CountedElsewhere, SharedMemoryIsTheOtherOnesToo) {
  const probe::MemoryShares shares{10 * kMiB, 10 * kMiB, 1000 * kMiB, 250 * kMiB, 1000 * kMiB};
  EXPECT_EQ(counted_elsewhere(shares, 0, true), 1000 * kMiB);
}

TEST(CountedElsewhere, WithoutTheOneItCameFromEachCountsItsPart) {
  const probe::MemoryShares shares{600 * kMiB, 150 * kMiB, 40 * kMiB, 20 * kMiB, 600 * kMiB};
  EXPECT_EQ(counted_elsewhere(shares, 600 * kMiB, false), 470 * kMiB);
}

TEST(TreeShare, AProcessThatSharesNothingIsNeverWalked) {
  Share share;
  share.begin(0);
  EXPECT_FALSE(share.is_due(kManyFaults, 0, true, 1000 * kMs));
  EXPECT_EQ(share.elsewhere(), 0);
}

TEST(TreeShare, UntilItIsWalkedAllThatWasInheritedIsShared) {
  Share share;
  share.inherit(600 * kMiB);
  share.begin(kManyFaults);
  EXPECT_EQ(share.elsewhere(), 600 * kMiB);
  EXPECT_FALSE(share.is_due(10, 0, true, 1000 * kMs)) << "hardly anything was written to";
  EXPECT_TRUE(share.is_due(kManyFaults, 0, true, 1000 * kMs)) << "also before its first look";
}

TEST(TreeShare, WalksRestAsLongAsTheyCost) {
  Share share;
  share.inherit(600 * kMiB);
  share.begin(0);
  share.measured(500 * kMiB, kManyFaults, 5 * kMs, 1000 * kMs);
  EXPECT_EQ(share.elsewhere(), 500 * kMiB);
  EXPECT_FALSE(share.is_due(2 * kManyFaults, 0, true, 1050 * kMs));
  EXPECT_TRUE(share.is_due(2 * kManyFaults, 0, true, 1100 * kMs));
  EXPECT_FALSE(share.is_due(2 * kManyFaults, 0, false, 1400 * kMs)) << "far from the limit";
  EXPECT_TRUE(share.is_due(2 * kManyFaults, 0, false, 1500 * kMs));
  EXPECT_FALSE(share.is_due(kManyFaults + 10, 0, true, 9000 * kMs)) << "nothing changed";
}

// The kernel's own numbers, in a child that shares what it did not write to.
TEST(CountedElsewhere, FollowsCopyOnWriteInAForkedChild) {
  OOMGUARD_SKIP_UNDER_TSAN();
  constexpr size_t kHalf = 64 * kMiB;
  std::vector<char> memory(2 * kHalf, 1);
  expect_in_child([&] {
    probe::MemoryShares before;
    if (!probe::read_shares(&before)) return;  // the kernel does not tell
    const Bytes shared = counted_elsewhere(before, before.anonymous, true);
    EXPECT_GT(shared, Bytes{2 * kHalf});
    memset(memory.data(), 2, kHalf);
    probe::MemoryShares after;
    ASSERT_TRUE(probe::read_shares(&after));
    const Bytes left = counted_elsewhere(after, before.anonymous, true);
    EXPECT_LT(left, shared - Bytes{kHalf} + kMiB);
    EXPECT_GT(left, Bytes{kHalf});
  });
}

}  // namespace
}  // namespace oomguard::budget::tree

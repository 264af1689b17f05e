#include "shim/spill/ranges.h"

#include <gtest/gtest.h>

#include <memory>

namespace oomguard::spill {
namespace {

constexpr uintptr_t kBlock = 0x7f0000000010;
constexpr uintptr_t kStart = 0x7f0000001000;
constexpr uintptr_t kEnd = 0x7f0000009000;

class RangesTest : public testing::Test {
 protected:
  RangesTest() { range_ = ranges_->add(kBlock, kStart, kEnd, 4096); }

  std::unique_ptr<Ranges> ranges_ = std::make_unique<Ranges>();
  Range* range_ = nullptr;
};

TEST_F(RangesTest, FindsABlockByWhatMallocReturned) {
  EXPECT_EQ(ranges_->find(kBlock), range_);
  EXPECT_EQ(ranges_->find(kStart), nullptr);
  EXPECT_TRUE(ranges_->contains(kStart));
  EXPECT_TRUE(ranges_->contains(kEnd - 1));
  EXPECT_FALSE(ranges_->contains(kEnd));
}

TEST_F(RangesTest, AFreedBlockWaitsForItsSpaceToBeGivenBack) {
  ranges_->forget(kBlock);
  EXPECT_EQ(ranges_->find(kBlock), nullptr);
  EXPECT_FALSE(ranges_->contains(kStart));
  EXPECT_EQ(range_->state.load(), Range::State::kFreed);
  Range* again = ranges_->add(kBlock, kStart, kEnd, 1 << 20);
  EXPECT_NE(again, range_) << "its place is taken until then";
  EXPECT_EQ(ranges_->find(kBlock), again);
}

TEST_F(RangesTest, WhatIsReplacedAsAWholeIsFreedAndWhatIsCutIsLeft) {
  ranges_->forget_range(kStart - 4096, kEnd - kStart + 8192);
  EXPECT_EQ(range_->state.load(), Range::State::kFreed);
  Range* second = ranges_->add(kBlock, kStart, kEnd, 1 << 20);
  ranges_->forget_range(kEnd, 4096);
  EXPECT_TRUE(second->in_use()) << "beside it";
  ranges_->forget_range(kEnd - 4096, 8192);
  EXPECT_EQ(second->state.load(), Range::State::kNone) << "the rest may still be in use: no punching";
}

TEST_F(RangesTest, AnOrphanIsInUseUntilItIsFreed) {
  range_->state.store(Range::State::kOrphan);
  EXPECT_EQ(ranges_->find(kBlock), range_);
  ranges_->forget(kBlock);
  EXPECT_EQ(range_->state.load(), Range::State::kNone);
}

TEST_F(RangesTest, AFullTableTakesNothingMore) {
  uintptr_t at = kEnd;
  while (ranges_->add(at, at, at + 4096, 0) != nullptr) at += 8192;
  EXPECT_GT((at - kEnd) / 8192, 4000u);
  ranges_->clear();
  EXPECT_EQ(ranges_->find(kBlock), nullptr);
  EXPECT_NE(ranges_->add(at, at, at + 4096, 0), nullptr);
}

}  // namespace
}  // namespace oomguard::spill

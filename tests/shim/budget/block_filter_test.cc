#include "shim/budget/block_filter.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

namespace oomguard::budget {
namespace {

const void* pointer(uintptr_t value) { return reinterpret_cast<const void*>(value); }

class BlockFilterTest : public testing::Test {
 protected:
  std::unique_ptr<BlockFilter> filter_ = std::make_unique<BlockFilter>();
};

TEST_F(BlockFilterTest, KnowsNothingAtFirstNotEvenNull) {
  EXPECT_FALSE(filter_->may_contain(nullptr));
  for (uintptr_t at = 16; at < 1u << 20; at += 4096) {
    EXPECT_FALSE(filter_->may_contain(pointer(at)));
  }
}

TEST_F(BlockFilterTest, NeverDeniesWhatWasAdded) {
  for (uintptr_t at = 0x10; at < 0x10 + 20'000ull * 0x1000; at += 0x1000) filter_->add(pointer(at));
  for (uintptr_t at = 0x10; at < 0x10 + 20'000ull * 0x1000; at += 0x1000) {
    ASSERT_TRUE(filter_->may_contain(pointer(at)));
  }
}

TEST_F(BlockFilterTest, ForgetsWhatWasRemovedAsOftenAsItWasAdded) {
  const void* block = pointer(0x7f0012340010);
  filter_->add(block);
  filter_->add(block);
  filter_->remove(block);
  EXPECT_TRUE(filter_->may_contain(block));
  filter_->remove(block);
  EXPECT_FALSE(filter_->may_contain(block));
}

TEST_F(BlockFilterTest, RemovingTooOftenDoesNotWrapAround) {
  const void* block = pointer(0x7f0012340010);
  filter_->remove(block);
  EXPECT_FALSE(filter_->may_contain(block));
  filter_->add(block);
  EXPECT_TRUE(filter_->may_contain(block));
}

TEST_F(BlockFilterTest, ACounterThatWasFullOnceStays) {
  const void* block = pointer(0x7f0012340010);
  for (int i = 0; i < 255; ++i) filter_->add(block);
  for (int i = 0; i < 1000; ++i) filter_->remove(block);
  EXPECT_TRUE(filter_->may_contain(block));
}

TEST_F(BlockFilterTest, OneBelowFullIsForgottenAgain) {
  const void* block = pointer(0x7f0012340010);
  for (int i = 0; i < 254; ++i) filter_->add(block);
  for (int i = 0; i < 254; ++i) filter_->remove(block);
  EXPECT_FALSE(filter_->may_contain(block));
}

TEST_F(BlockFilterTest, AFewHundredBlocksLeaveMostPointersOnTheFastPath) {
  for (uintptr_t i = 0; i < 300; ++i) filter_->add(pointer(0x7f0000000010 + i * 0x2100000));
  size_t taken_for_known = 0;
  constexpr uintptr_t kOthers = 20'000;
  for (uintptr_t i = 0; i < kOthers; ++i) {
    if (filter_->may_contain(pointer(0x55550000a010 + i * 48))) ++taken_for_known;
  }
  EXPECT_LT(taken_for_known, kOthers / 20);
}

TEST_F(BlockFilterTest, ThreadsThatAddAndRemoveLeaveNothingBehind) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this] {
      for (int i = 0; i < 20'000; ++i) {
        const void* block = pointer(0x7f0000000010 + static_cast<uintptr_t>(i % 8) * 0x1000);
        filter_->add(block);
        EXPECT_TRUE(filter_->may_contain(block));
        filter_->remove(block);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (uintptr_t i = 0; i < 8; ++i) {
    EXPECT_FALSE(filter_->may_contain(pointer(0x7f0000000010 + i * 0x1000)));
  }
}

}  // namespace
}  // namespace oomguard::budget

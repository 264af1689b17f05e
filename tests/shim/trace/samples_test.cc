#include "shim/trace/samples.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace oomguard::trace {
namespace {

class SamplesTest : public testing::Test {
 protected:
  std::unique_ptr<Samples> samples_ = std::make_unique<Samples>();
};

TEST_F(SamplesTest, GivesBackWhatWasRecordedOnce) {
  ASSERT_TRUE(samples_->add(0x7000'1230, {7, 3, 4096}));
  Sample out;
  EXPECT_FALSE(samples_->remove(0x7000'1240, &out));
  ASSERT_TRUE(samples_->remove(0x7000'1230, &out));
  EXPECT_EQ(out.site, 7u);
  EXPECT_EQ(out.blocks, 3u);
  EXPECT_EQ(out.weight, 4096);
  EXPECT_FALSE(samples_->remove(0x7000'1230, &out));
  EXPECT_EQ(samples_->count(), 0u);
}

TEST_F(SamplesTest, IsCrowdedBeforeMuchIsDropped) {
  uintptr_t address = 0x10000;
  int dropped = 0;
  while (!samples_->is_crowded()) {
    address += 16 * 37;
    if (!samples_->add(address, {1, 1, 1})) ++dropped;
  }
  EXPECT_LT(dropped, 20);
}

TEST_F(SamplesTest, AFullTableDropsAndKeepsWhatItHas) {
  for (uintptr_t i = 1; i < 100'000; ++i) samples_->add(i * 16, {static_cast<uint32_t>(i), 1, 1});
  uint32_t found = 0;
  for (uintptr_t i = 1; i < 100'000; ++i) {
    Sample out;
    if (!samples_->remove(i * 16, &out)) continue;
    ++found;
    EXPECT_EQ(out.site, i);
  }
  EXPECT_GT(found, 30'000u);
  EXPECT_EQ(samples_->count(), 0u);
}

TEST_F(SamplesTest, AForkedChildHasNoneAndRoomForItsOwn) {
  for (uintptr_t i = 1; i < 100'000; ++i) samples_->add(i * 16, {1, 1, 1});
  samples_->on_fork_child();
  Sample out;
  EXPECT_FALSE(samples_->remove(16, &out));
  EXPECT_EQ(samples_->count(), 0u);
  ASSERT_TRUE(samples_->add(16, {2, 1, 1}));
  ASSERT_TRUE(samples_->remove(16, &out));
  EXPECT_EQ(out.site, 2u);
}

TEST_F(SamplesTest, ThreadsThatAddAndRemoveLoseNothing) {
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (uintptr_t self = 1; self <= 4; ++self) {
    threads.emplace_back([&, self] {
      for (uintptr_t i = 0; i < 50'000; ++i) {
        const uintptr_t address = self << 40 | (i % 64 + 1) << 4;
        const Sample sample{static_cast<uint32_t>(self), 1, static_cast<int64_t>(i)};
        if (!samples_->add(address, sample)) continue;
        Sample out;
        if (!samples_->remove(address, &out) || out.site != self ||
            out.weight != static_cast<int64_t>(i)) {
          ++wrong;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(samples_->count(), 0u);
}

}  // namespace
}  // namespace oomguard::trace

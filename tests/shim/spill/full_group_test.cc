// Lending where it is needed: in a memory group that is full.
#include <gtest/gtest.h>

#include "tests/shim/budget/memory_group.h"
#include "tests/shim/spill/harness.h"

namespace oomguard::spill {
namespace {

using test::MemoryGroup;

constexpr size_t kBlock = 160 * 1024 * 1024;

class FullGroup : public testing::Test {
 protected:
  void SetUp() override {
    OOMGUARD_SKIP_UNDER_SANITIZER();
    if (!group_.ready()) GTEST_SKIP() << group_.reason();
  }

  MemoryGroup group_{200 * kMiB};
};

TEST_F(FullGroup, TwoBlocksThatDoNotFitAreBothFilled) {
  expect_in_child([this] {
    ASSERT_TRUE(group_.join());
    configure(200 * kMiB, 2 * kGiB);
    Raw raw;
    raw.watch(true);
    HeapBlock first(kBlock);
    HeapBlock second(kBlock);
    fill(first.data(), 0, kBlock, 1);
    const Result result = lend(raw);
    EXPECT_GT(result.lent, static_cast<Bytes>(kBlock) - kMiB);
    fill(second.data(), 0, kBlock, 2);
    EXPECT_EQ(wrong(first.data(), 0, kBlock, 1), 0u);
    EXPECT_EQ(wrong(second.data(), 0, kBlock, 2), 0u);
    EXPECT_GE(touched(), static_cast<Bytes>(kBlock) - kMiB);
  });
}

TEST_F(FullGroup, RandomTouchingGoesOnByCopying) {
  expect_in_child([this] {
    ASSERT_TRUE(group_.join());
    configure(200 * kMiB, 2 * kGiB);
    Raw raw;
    raw.watch(true);
    HeapBlock block(2 * kBlock);
    const size_t pages = 2 * kBlock / 4096 - 2;
    const auto nth = [&](size_t i) { return (1 + i * 40507 % pages) * 4096; };  // each page once
    Bytes lent = 0;
    size_t filled = 0;
    for (; group_.usage() < 170 * kMiB; ++filled) fill(block.data(), nth(filled), nth(filled) + 4096, 1);
    for (int round = 0; round < 4; ++round) {
      lent += lend(raw, 32 * kMiB).lent;
      const size_t until = filled + 1024;
      for (; filled < until; ++filled) fill(block.data(), nth(filled), nth(filled) + 4096, 1);
    }
    EXPECT_GT(lent, 4 * 32 * kMiB);
    size_t errors = 0;
    for (size_t i = 0; i < filled; ++i) errors += wrong(block.data(), nth(i), nth(i) + 4096, 1);
    EXPECT_EQ(errors, 0u);
  });
}

}  // namespace
}  // namespace oomguard::spill

#include "shim/spill/pages.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include "tests/shim/spill/harness.h"

namespace oomguard::spill {
namespace {

using budget::kMiB;
using test::Mapped;

class Pages : public testing::Test {
 protected:
  Pages() : pagemap_(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC)) {}
  ~Pages() override { close(pagemap_); }

  PageSet look(const Mapped& memory, size_t count, bool by_content = true) const {
    PageSet set{};
    EXPECT_TRUE(look_at_pages(pagemap_, memory.address(), count, by_content, &set));
    EXPECT_EQ(set.count, count);
    return set;
  }

  int pagemap_;
};

TEST_F(Pages, AbsentPagesHoldNothing) {
  const Mapped memory(kMiB);
  EXPECT_EQ(look(memory, 256).filled, 0u);
}

TEST_F(Pages, WrittenPagesHoldSomething) {
  const Mapped memory(kMiB);
  memory.touch(8192, 3 * 8192);
  const PageSet set = look(memory, 256);
  EXPECT_EQ(set.filled, 4u);
  EXPECT_FALSE(set.holds_something(1));
  EXPECT_TRUE(set.holds_something(2));
  EXPECT_TRUE(set.holds_something(5));
  EXPECT_FALSE(set.holds_something(6));
}

TEST_F(Pages, TheZeroPageHoldsNothingWhereContentMayBeLookedAt) {
  const Mapped memory(kMiB);
  const char* data = reinterpret_cast<const char*>(memory.address());
  ASSERT_EQ(test::not_zero(data, 0, kMiB), 0u);
  EXPECT_EQ(look(memory, 256).filled, 0u);
  EXPECT_EQ(look(memory, 256, false).filled, 256u);
}

// Not exclusive any more, like the zero page: only the content tells them apart.
TEST_F(Pages, PagesThatAForkSharesHoldSomething) {
  const Mapped memory(kMiB);
  memory.touch(0, kMiB / 2);
  test::Signpost end;
  const pid_t child = test::start_child([&] { end.wait(); });
  const PageSet set = look(memory, 256);
  end.set();
  EXPECT_EQ(test::wait_for(child), 0);
  EXPECT_EQ(set.filled, 128u);
}

TEST_F(Pages, TheRestOfAHugePageHoldsNothing) {
  const Mapped memory(6 * kMiB);
  const uintptr_t huge = (memory.address() + 2 * kMiB - 1) & ~uintptr_t{2 * kMiB - 1};
  if (madvise(reinterpret_cast<void*>(huge), 2 * kMiB, MADV_HUGEPAGE) != 0) {
    GTEST_SKIP() << "no huge pages here";
  }
  memset(reinterpret_cast<void*>(huge), 1, 3 * 4096);
  PageSet set{};
  ASSERT_TRUE(look_at_pages(pagemap_, huge, kRegionPages, true, &set));
  EXPECT_EQ(set.filled, 3u);
  memset(reinterpret_cast<void*>(huge), 1, 2 * kMiB);
  ASSERT_TRUE(look_at_pages(pagemap_, huge, kRegionPages, true, &set));
  EXPECT_EQ(set.filled, kRegionPages);
}

// Weights of a checkpoint may be zero all over, and the program counts on their memory.
TEST_F(Pages, ZerosThatWereWrittenAllOverHoldSomething) {
  const Mapped memory(6 * kMiB);
  const uintptr_t region = (memory.address() + 2 * kMiB - 1) & ~uintptr_t{2 * kMiB - 1};
  memset(reinterpret_cast<void*>(region), 0, 2 * kMiB);
  PageSet set{};
  ASSERT_TRUE(look_at_pages(pagemap_, region, kRegionPages, true, &set));
  EXPECT_EQ(set.filled, kRegionPages);
}

TEST_F(Pages, FilePagesAreNobodysToReplace) {
  const Mapped memory(kMiB, MAP_SHARED);
  memory.touch(0, 4096);
  EXPECT_TRUE(look(memory, 256).holds_something(0));
}

TEST_F(Pages, WhatCannotBeReadIsAnError) {
  const Mapped memory(kMiB);
  PageSet set{};
  EXPECT_FALSE(look_at_pages(-1, memory.address(), 16, true, &set));
  EXPECT_FALSE(look_at_pages(pagemap_, memory.address(), kRegionPages + 1, true, &set));
}

}  // namespace
}  // namespace oomguard::spill

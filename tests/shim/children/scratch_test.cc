#include "shim/children/scratch.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <thread>

namespace oomguard::children {
namespace {

bool is_mapped(void* address) {
  unsigned char resident = 0;
  return mincore(address, 4096, &resident) == 0;
}

TEST(Scratch, UnmapsWhenTheCallCameBack) {
  void* address = nullptr;
  {
    const Scratch scratch(80'000, false);
    address = scratch.data();
    ASSERT_NE(nullptr, address);
    memset(address, 1, 80'000);
  }
  EXPECT_FALSE(is_mapped(address));
}

TEST(Scratch, IsTakenBackByTheSameThreadAfterAVforkChildWasGone) {
  void* left_behind = nullptr;
  {
    // The child is gone after exec: its object is never destroyed.
    alignas(Scratch) unsigned char storage[sizeof(Scratch)];
    left_behind = (new (storage) Scratch(80'000, true))->data();
    ASSERT_NE(nullptr, left_behind);
  }
  ASSERT_TRUE(is_mapped(left_behind));
  {
    const Scratch again(70'000, false);
    EXPECT_EQ(left_behind, again.data());
  }
  EXPECT_FALSE(is_mapped(left_behind));
}

TEST(Scratch, OfAnotherThreadIsLeftAlone) {
  alignas(Scratch) unsigned char storage[sizeof(Scratch)];
  void* left_behind = (new (storage) Scratch(80'000, true))->data();
  std::thread([&] {
    const Scratch other(80'000, false);
    EXPECT_NE(left_behind, other.data());
  }).join();
  EXPECT_TRUE(is_mapped(left_behind));
  const Scratch larger(1'000'000, false);  // too small for this one: unmapped
  EXPECT_NE(nullptr, larger.data());
}

TEST(Scratch, IsNullWhereNothingCanBeMapped) {
  errno = 0;
  const Scratch scratch(SIZE_MAX / 2, false);
  EXPECT_EQ(nullptr, scratch.data());
  EXPECT_EQ(0, errno);
}

}  // namespace
}  // namespace oomguard::children

#include "shim/budget/relief.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "shim/budget/ledger.h"
#include "shim/interpose/real.h"
#include "tests/shim/budget/harness.h"

namespace oomguard::budget {
namespace {

using test::expect_in_child;
using test::own_anonymous;

// Frees all but the last of many blocks: the heap keeps what lies below that one.
void fragment() {
  std::vector<void*> blocks;
  for (int i = 0; i < 1000; ++i) {
    blocks.push_back(malloc(64 * 1024));
    memset(blocks.back(), 1, 64 * 1024);
  }
  static void* keeper = malloc(64 * 1024);
  memset(keeper, 1, 64 * 1024);
  for (void* block : blocks) free(block);
}

TEST(ReliefTest, DoesNothingBeforeItIsInitialised) {
  expect_in_child([] { EXPECT_FALSE(relief::release(0, true)); });
}

TEST(ReliefTest, GivesBackWhatTheHeapKeeps) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer's allocator is not libc's";
#endif
  expect_in_child([] {
    interpose::resolve();
    ASSERT_TRUE(interpose::allocator_is_libc());
    relief::init();
    fragment();
    const Bytes before = own_anonymous();
    EXPECT_TRUE(relief::release(32 * kMiB, true));
    EXPECT_LT(own_anonymous(), before - 32 * kMiB);
  });
}

TEST(ReliefTest, DoesNotTryWhereItCannotHelp) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer's allocator is not libc's";
#endif
  expect_in_child([] {
    interpose::resolve();
    relief::init();
    fragment();
    const Bytes before = own_anonymous();
    EXPECT_FALSE(relief::release(10 * test::kGiB, true));
    EXPECT_GE(own_anonymous(), before - kMiB);
  });
}

TEST(ReliefTest, IsWorthItAgainSoonOnlyAfterLargeBlocksWereFreed) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer's allocator is not libc's";
#endif
  expect_in_child([] {
    interpose::resolve();
    relief::init();
    fragment();
    ledger.add({0x10000000, 100 * kMiB, -1, 0, 0, 1, true});
    ASSERT_TRUE(relief::release(32 * kMiB, true));
    EXPECT_FALSE(relief::affordable()) << "it has only just ended";
    ASSERT_TRUE(ledger.remove(0x10000000, nullptr));
    EXPECT_TRUE(relief::affordable());
  });
}

}  // namespace
}  // namespace oomguard::budget

#include "shim/trace/thread_stack.h"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#include "tests/shim/trace/fenced.h"

namespace oomguard::trace {
namespace {

using test::Fenced;

constexpr uintptr_t kWord = sizeof(uintptr_t);
constexpr uintptr_t kPage = 4096;

class ThreadStacks : public testing::Test {
 protected:
  void SetUp() override { find_main_stack(); }
};

TEST_F(ThreadStacks, ReadsWhatIsThere) {
  Fenced memory(16 * kPage);
  const uintptr_t value = 0x1234567890;
  memcpy(memory.start() + 5 * kPage + 16, &value, sizeof value);
  ThreadStack stack;
  ASSERT_TRUE(stack.enter(memory.address() + kPage));
  uintptr_t out = 0;
  EXPECT_TRUE(stack.load(memory.address() + 5 * kPage + 16, &out));
  EXPECT_EQ(out, value);
  EXPECT_TRUE(stack.load(memory.end() - kWord, &out));
}

TEST_F(ThreadStacks, DoesNotReadBeyond) {
  Fenced memory(16 * kPage);
  ThreadStack stack;
  ASSERT_TRUE(stack.enter(memory.address() + 8 * kPage));
  uintptr_t out = 0;
  EXPECT_FALSE(stack.load(memory.end(), &out));
  EXPECT_FALSE(stack.load(memory.end() + (uintptr_t{1} << 30), &out));
  EXPECT_FALSE(stack.load(memory.address() + 8 * kPage + 1, &out));  // not aligned
  EXPECT_FALSE(stack.load(memory.address(), &out));                  // far below
  EXPECT_FALSE(stack.load(0, &out));
  EXPECT_FALSE(stack.load(UINTPTR_MAX - kWord + 1, &out));
  EXPECT_FALSE(stack.load(UINTPTR_MAX, &out));
}

TEST_F(ThreadStacks, DoesNotReadAcrossAGap) {
  Fenced memory(16 * kPage);
  ASSERT_EQ(mprotect(memory.start() + 4 * kPage, kPage, PROT_NONE), 0);
  ThreadStack stack;
  ASSERT_TRUE(stack.enter(memory.address() + kPage));
  uintptr_t out = 0;
  EXPECT_TRUE(stack.load(memory.address() + 4 * kPage - kWord, &out));
  EXPECT_FALSE(stack.load(memory.address() + 8 * kPage, &out));
}

// What a function has popped is said to lie below the stack pointer still, maybe on the page
// before.
TEST_F(ThreadStacks, ReadsALittleBelowTheStackPointer) {
  Fenced memory(4 * kPage);
  ThreadStack stack;
  uintptr_t out = 0;
  ASSERT_TRUE(stack.enter(memory.address() + kPage));
  EXPECT_TRUE(stack.load(memory.address() + kPage - kWord, &out));
  ASSERT_TRUE(stack.enter(memory.address()));  // nothing is below
  EXPECT_FALSE(stack.load(memory.address() - kWord, &out));
  EXPECT_TRUE(stack.load(memory.address(), &out));
}

TEST_F(ThreadStacks, AnAddressWhereNothingIsIsNoStack) {
  Fenced memory(kPage);
  ThreadStack stack;
  EXPECT_FALSE(stack.enter(memory.end()));
  EXPECT_FALSE(stack.enter(0));
}

TEST_F(ThreadStacks, AStackPointerLiesOnIt) {
  Fenced memory(4 * kPage);
  ThreadStack stack;
  ASSERT_TRUE(stack.enter(memory.address() + kPage));
  EXPECT_TRUE(stack.may_point_to(memory.address() + 2 * kPage));
  EXPECT_TRUE(stack.may_point_to(memory.end()));  // of the outermost frame
  EXPECT_FALSE(stack.may_point_to(memory.end() + kWord));
  EXPECT_FALSE(stack.may_point_to(memory.address() + 2 * kPage + 4));
  EXPECT_FALSE(stack.may_point_to(0));
}

TEST_F(ThreadStacks, AnotherStackInBetweenChangesNothing) {
  const auto use = [] {
    uintptr_t here = 77;
    ThreadStack stack;
    uintptr_t out = 0;
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(stack.enter(reinterpret_cast<uintptr_t>(&here)));
      EXPECT_TRUE(stack.load(reinterpret_cast<uintptr_t>(&here), &out));
      EXPECT_EQ(out, 77u);
      Fenced other(4 * kPage);
      ASSERT_TRUE(stack.enter(other.address() + kPage));
      EXPECT_TRUE(stack.load(other.end() - kWord, &out));
      EXPECT_FALSE(stack.load(other.end(), &out));
    }
  };
  use();
  std::thread(use).join();
}

}  // namespace
}  // namespace oomguard::trace

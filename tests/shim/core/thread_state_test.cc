#include "shim/core/thread_state.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <set>
#include <thread>

namespace oomguard {
namespace {

TEST(ThreadStateTest, ANewThreadHasNoCreditAndIsInNoSlowPath) {
  std::thread([] {
    EXPECT_EQ(thread_state.credit, 0u);
    EXPECT_EQ(thread_state.thread_id, 0);
    EXPECT_EQ(thread_state.in_slow_path, 0u);
  }).join();
}

TEST(ThreadStateTest, EachThreadKnowsItsOwnNumber) {
  EXPECT_EQ(current_thread_id(), gettid());
  int32_t other = 0;
  std::thread([&] { other = current_thread_id(); }).join();
  EXPECT_NE(other, 0);
  EXPECT_NE(other, current_thread_id());
}

TEST(ThreadStateTest, SlowPathsNest) {
  EXPECT_EQ(thread_state.in_slow_path, 0u);
  {
    const SlowPathScope outer;
    {
      const SlowPathScope inner;
      EXPECT_EQ(thread_state.in_slow_path, 2u);
    }
    EXPECT_EQ(thread_state.in_slow_path, 1u);
  }
  EXPECT_EQ(thread_state.in_slow_path, 0u);
}

TEST(ThreadStateTest, CreditIsTheThreadsOwn) {
  thread_state.credit = 5;
  std::thread([] { thread_state.credit = 7; }).join();
  EXPECT_EQ(thread_state.credit, 5u);
  thread_state.credit = 0;
}

}  // namespace
}  // namespace oomguard

// A budget that is set and taken back while the program runs.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "shim/budget/gate.h"
#include "tests/shim/budget/harness.h"

namespace oomguard::budget {
namespace {

using test::budget_of;
using test::expect_in_child;
using test::guard;
using test::interpreter_caller;
using test::own_anonymous;

bool ask(Bytes size) {
  const auto bytes = static_cast<size_t>(size);
  const Admission admission(record::RequestKind::kMalloc, bytes, interpreter_caller());
  return admission.granted();
}

TEST(GateBudgetTest, CountsFromTheNextRequestOnAndNoLongerThanItIsSet) {
  expect_in_child([] {
    guard(budget_of(512 * kMiB));
    EXPECT_TRUE(ask(64 * kMiB));
    const Bytes before = own_anonymous();
    gate.set_budget(before + 64 * kMiB);
    EXPECT_FALSE(ask(64 * kMiB)) << "the reserve of 16 MiB is kept";
    EXPECT_TRUE(ask(40 * kMiB));
    gate.set_budget(before + 200 * kMiB);
    EXPECT_TRUE(ask(64 * kMiB));
    gate.set_budget(0);
    EXPECT_TRUE(ask(400 * kMiB));
  });
}

TEST(GateBudgetTest, TheLowerOneCounts) {
  expect_in_child([] {
    guard(budget_of(128 * kMiB));
    gate.set_budget(own_anonymous() + 512 * kMiB);
    EXPECT_FALSE(ask(128 * kMiB));
    EXPECT_TRUE(ask(64 * kMiB));
  });
}

TEST(GateBudgetTest, ThreadsCreditIsForgottenWhereItIsSet) {
  expect_in_child([] {
    guard(budget_of(512 * kMiB));
    EXPECT_TRUE(ask(1));
    EXPECT_GT(thread_state.credit, 0u);
    gate.set_budget(own_anonymous() + 64 * kMiB);
    EXPECT_EQ(thread_state.credit, 0u);
  });
}

// An answer that another thread read under the old budget is not used once the new one is set.
TEST(GateBudgetTest, NoOldAnswerOutlivesIt) {
  expect_in_child([] {
    guard(budget_of(2048 * kMiB));
    std::atomic<bool> over{false};
    std::thread looks([&over] {
      probe::Reading reading;
      probe::Headroom headroom;
      while (!over) gate.look(probe::Depth::kCheap, program_now_ns(), &reading, &headroom);
    });
    int granted = 0;
    for (int i = 0; i < 3000; ++i) {
      gate.set_budget(own_anonymous() + 32 * kMiB);
      granted += ask(30 * kMiB) ? 1 : 0;  // more than a refusal's grace allows, too
      gate.set_budget(0);
      EXPECT_TRUE(ask(20 * kMiB));
    }
    over = true;
    looks.join();
    EXPECT_EQ(granted, 0);
  });
}

TEST(GateBudgetTest, ThePeakIsOfTheTimeSinceItWasAsked) {
  gate.take_peak();
  gate.saw_memory(5);
  gate.saw_memory(3);
  EXPECT_EQ(gate.take_peak(), 5);
  EXPECT_EQ(gate.take_peak(), 0);
}

}  // namespace
}  // namespace oomguard::budget

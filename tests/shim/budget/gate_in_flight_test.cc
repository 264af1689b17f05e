// Admission beside what was granted before: blocks that are recorded, what others are filling or
// ask for.
#include <thread>

#include "shim/budget/ledger.h"
#include "tests/shim/budget/gate_cases.h"

namespace oomguard::budget {
namespace {

using test::budget_of;
using test::guard;
using test::interpreter_caller;
using test::kGiB;
using test::Mapped;
using test::expect_in_child;

GATE_TEST(BlocksAboveOneMiBAreRecordedWithWhoAsked) {
  guard(budget_of(256 * kMiB));
  const Mapped memory(8 * kMiB);
  {
    Admission admission(record::RequestKind::kMalloc, 8 * kMiB, interpreter_caller());
    admission.block(reinterpret_cast<void*>(memory.address()), 8 * kMiB, true);
  }
  Block found{};
  ASSERT_TRUE(ledger.find(memory.address(), &found));
  EXPECT_EQ(found.size_bytes, 8 * kMiB);
  EXPECT_EQ(found.caller, reinterpret_cast<uintptr_t>(interpreter_caller()));
  EXPECT_EQ(found.thread_id, static_cast<int32_t>(gettid()));
  Admission small(record::RequestKind::kMalloc, kMiB, interpreter_caller());
  small.block(reinterpret_cast<void*>(memory.address() + kMiB), kMiB, true);
  small.block(nullptr, 8 * kMiB, true);
  EXPECT_EQ(ledger.count(), 1u) << "CPython's arenas are exactly 1 MiB and stay out";
}

GATE_TEST(CallsFromInsideASlowPathPassThroughUnseen) {
  guard(budget_of(64 * kMiB));
  const SlowPathScope inside;
  Admission admission(record::RequestKind::kMalloc, kGiB, interpreter_caller());
  EXPECT_TRUE(admission.granted());
  admission.block(pointer(0x7f0000000000) == nullptr ? nullptr : &admission, kGiB, true);
  EXPECT_EQ(ledger.count(), 0u);
  EXPECT_EQ(refusals(), 0u);
}

GATE_TEST(WhatAnotherThreadIsFillingIsInFlight) {
  guard(budget_of(256 * kMiB));
  const Mapped others(200 * kMiB);
  ledger.add({others.address(), others.size(), -1, program_now_ns(), 0, 4711, false});
  EXPECT_FALSE(ask(100 * kMiB));
  EXPECT_EQ(newest().in_flight_bytes, 200 * kMiB);
  ledger.remove(others.address(), nullptr);
  EXPECT_TRUE(ask(100 * kMiB));
}

GATE_TEST(OnesOwnSkeletonAndAnotherThreadsQuietOneAreNotInFlight) {
  guard(budget_of(256 * kMiB));
  const Mapped memory(200 * kMiB);
  ledger.add({memory.address(), memory.size(), -1, program_now_ns(), 0,
              static_cast<int32_t>(gettid()), false});
  EXPECT_TRUE(ask(200 * kMiB));
  const Mapped quiet(200 * kMiB);
  const int64_t long_ago = program_now_ns() - 10'000'000'000;
  ledger.add({quiet.address(), quiet.size(), -1, long_ago, 0, 4711, false});
  EXPECT_TRUE(ask(200 * kMiB));
  EXPECT_EQ(refusals(), 0u);
}

GATE_TEST(ARequestThatIsBeingDecidedStandsInTheWayUntilItIsRecorded) {
  guard(budget_of(256 * kMiB));
  {
    const Admission first(record::RequestKind::kMalloc, 200 * kMiB, interpreter_caller());
    ASSERT_TRUE(first.granted());
    bool second = true;
    std::thread([&] { second = ask(100 * kMiB); }).join();
    EXPECT_FALSE(second);
  }
  EXPECT_TRUE(ask(100 * kMiB)) << "the call failed or its block is recorded";
}

GATE_TEST(AForkedChildStartsWithNothingPending) {
  guard(budget_of(256 * kMiB));
  const Admission held(record::RequestKind::kMalloc, 200 * kMiB, interpreter_caller());
  expect_in_child([] {
    thread_state = {};
    gate.on_fork_child();
    EXPECT_TRUE(ask(200 * kMiB));
  });
}

}  // namespace
}  // namespace oomguard::budget

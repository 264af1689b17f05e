// Admission against a budget of its own: what is granted, what is refused, and to whom.
#include "shim/budget/gate.h"

#include <sys/resource.h>

#include <chrono>
#include <thread>

#include "tests/shim/budget/gate_cases.h"
#include "tests/shim/budget/modules.h"

namespace oomguard::budget {
namespace {

using test::budget_of;
using test::Folder;
using test::guard;
using test::in_child;
using test::interpreter_caller;
using test::kGiB;
using test::map_module;
using test::Mapped;

GATE_TEST(GrantsEverythingBeforeItStarts) {
  EXPECT_EQ(gate.mode(), Gate::Mode::kStarting);
  EXPECT_TRUE(ask(1000 * kGiB));
  EXPECT_EQ(thread_state.credit, 0u) << "asks again: the gate may be on by then";
}

GATE_TEST(WhatCannotBeReadIsGrantedWithoutAskingForEachRequest) {
  rlimit64 none{0, 0};
  ASSERT_EQ(setrlimit64(RLIMIT_NOFILE, &none), 0);
  gate.start();
  gate.set_mode(Gate::Mode::kOn);
  EXPECT_EQ(headroom_now(), -1);
  EXPECT_TRUE(ask(1000 * kGiB));
  EXPECT_GE(thread_state.credit, 64u * 1024);
}

GATE_TEST(WhereItIsOffAThreadComesOnceAndNeverAgain) {
  gate.set_mode(Gate::Mode::kOff);
  EXPECT_FALSE(spend(1));
  EXPECT_TRUE(ask(1000 * kGiB));
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(spend(1000 * kGiB));
}

GATE_TEST(AReserveLargerThanTheLimitLeavesHalfOfIt) {
  options::Values values = budget_of(256 * kMiB);
  values.reserve_bytes = 1000 * kGiB;
  guard(values);
  EXPECT_EQ(gate.reserve(), values.budget_bytes / 2);
  EXPECT_TRUE(ask(64 * kMiB));
}

GATE_TEST(GrantsWhatFitsAndRefusesWhatDoesNot) {
  guard(budget_of(256 * kMiB));
  EXPECT_TRUE(ask(100 * kMiB));
  EXPECT_TRUE(ask(230 * kMiB));
  EXPECT_FALSE(ask(250 * kMiB)) << "16 MiB stay free";
  EXPECT_FALSE(ask(100 * kGiB));
  EXPECT_TRUE(ask(100 * kMiB)) << "a refusal takes nothing";
  EXPECT_EQ(refusals(), 2u);
}

GATE_MEMORY_TEST(WhatIsHeldCountsAgainstTheBudget) {
  guard(budget_of(256 * kMiB));
  const Mapped held(128 * kMiB);
  EXPECT_TRUE(ask(200 * kMiB)) << "a sparse buffer of one's own is no memory yet";
  held.touch();
  EXPECT_FALSE(ask(200 * kMiB));
  EXPECT_TRUE(ask(100 * kMiB));
}

GATE_TEST(SharedMemoryThatWasTouchedCountsToo) {
  guard(budget_of(256 * kMiB));
  const Mapped held(128 * kMiB, MAP_SHARED);
  held.touch();
  EXPECT_FALSE(ask(200 * kMiB));
}

GATE_TEST(ARequestNoMachineHasIsLeftToTheRealCall) {
  guard(budget_of(256 * kMiB));
  EXPECT_TRUE(ask((Bytes{1} << 60) + 1));
  const Admission largest(record::RequestKind::kMalloc, SIZE_MAX, interpreter_caller());
  EXPECT_TRUE(largest.granted());
  EXPECT_EQ(refusals(), 0u);
}

GATE_TEST(ARequestThatNeedsNothingIsGranted) {
  guard(budget_of(64 * kMiB));
  const Mapped held(58 * kMiB);
  held.touch();
  EXPECT_TRUE(ask(0));
}

GATE_MEMORY_TEST(LargeRequestsStopAtTheReserveAndSmallOnesAtAQuarterOfIt) {
  guard(budget_of(64 * kMiB));
  const Mapped held(60 * kMiB);
  held.touch(0, 52 * kMiB);
  ASSERT_LT(headroom_now(), 13 * kMiB);
  EXPECT_TRUE(ask(16 * 1024));
  EXPECT_FALSE(ask(kMiB));
}

GATE_MEMORY_TEST(SmallRequestsOfTheInterpreterAreRefusedAtTheirLine) {
  guard(budget_of(64 * kMiB));
  const Mapped held(64 * kMiB);
  held.touch(0, 61 * kMiB);  // what the test's process holds itself comes on top
  ASSERT_LT(headroom_now(), 4 * kMiB);
  const auto began = std::chrono::steady_clock::now();
  Bytes dipped = 0;
  while (dipped < kMiB && ask(4096)) dipped += 4096;
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  EXPECT_GE(dipped, kDipBurst) << "a thread's trickle, then the line";
  EXPECT_LE(dipped, kDipBurst + kDipPerSecond * took.count()) << "what comes back meanwhile";
  EXPECT_FALSE(ask(2 * kMiB));
}

GATE_MEMORY_TEST(WhileARefusalIsShownSmallRequestsMayUseTheLastBytes) {
  guard(budget_of(64 * kMiB));
  const Mapped held(64 * kMiB);
  for (Bytes size = 58 * kMiB; headroom_now() > 3 * kMiB / 2; size += kMiB / 4) held.touch(0, size);
  while (ask(4096)) {
  }
  gate.add_privilege(1);
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(ask(4096));
  EXPECT_FALSE(ask(2 * kMiB)) << "small ones only";
  gate.add_privilege(-1);
  Bytes dipped = 0;
  while (dipped < kMiB && ask(4096)) dipped += 4096;
  EXPECT_GE(dipped, kDipBurst) << "the next cell begins with a whole trickle";
  EXPECT_LT(dipped, 2 * kDipBurst);
}

GATE_TEST(AfterAGrantThereIsCreditAndAfterARefusalThereIsNone) {
  guard(budget_of(256 * kMiB));
  EXPECT_TRUE(ask(100));
  EXPECT_GT(thread_state.credit, 4096u);
  EXPECT_LE(thread_state.credit, static_cast<uint64_t>(kMiB));
  EXPECT_FALSE(ask(kGiB));
  EXPECT_EQ(thread_state.credit, 0u);
}

GATE_TEST(CreditIsSpentToTheByte) {
  guard(budget_of(256 * kMiB));
  EXPECT_TRUE(ask(100));
  const uint64_t credit = thread_state.credit;
  EXPECT_FALSE(spend(credit + 1));
  EXPECT_TRUE(spend(credit));
  EXPECT_FALSE(spend(1));
  EXPECT_TRUE(spend(0));
}

// Three quarters of the way into the reserve of large requests.
void fill_to_12_mib(const Mapped& held) {
  held.touch(0, 52 * kMiB);
  ASSERT_LT(headroom_now(), 13 * kMiB);
  ASSERT_GT(headroom_now(), 8 * kMiB);
}

GATE_TEST(ExtensionModulesAreRefusedFrom64KiB) {
  const Folder folder;
  const void* extension = pointer(map_module(folder / "site-packages/mod.abi3.so"));
  guard(budget_of(64 * kMiB));
  const Mapped held(64 * kMiB);
  held.touch(0, 61 * kMiB);
  EXPECT_TRUE(ask(63 * 1024, extension)) << "even under the small line";
  EXPECT_FALSE(ask(64 * 1024, extension));
}

GATE_MEMORY_TEST(AnybodyElseIsRefusedFrom16MiB) {
  guard(budget_of(64 * kMiB));
  const Mapped held(64 * kMiB);
  fill_to_12_mib(held);
  const void* libc = reinterpret_cast<const void*>(&strlen);
  EXPECT_TRUE(ask(16 * kMiB - 1, libc));
  EXPECT_FALSE(ask(16 * kMiB, libc));
  EXPECT_TRUE(ask(16 * kMiB - 1, nullptr));
  EXPECT_FALSE(ask(16 * kMiB, nullptr));
}

int g_alarms = 0;
void count_alarms() {
  struct sigaction action {};
  action.sa_handler = [](int) { ++g_alarms; };
  sigaction(SIGRTMIN + 4, &action, nullptr);
  gate.alarm.set_signal(SIGRTMIN + 4);
}

GATE_TEST(WhoAbortsOnNullIsNeverRefusedAndTheMainThreadGetsTheException) {
  const Folder folder;
  const std::string elf = test::elf_with_comment(test::kRustComment).bytes();
  const void* rust = pointer(map_module(folder / "site-packages/rust.abi3.so", elf));
  const void* openmp = pointer(map_module(folder / "libgomp.so.1"));
  guard(budget_of(64 * kMiB));
  count_alarms();
  EXPECT_TRUE(ask(kGiB, rust));
  EXPECT_EQ(g_alarms, 1);
  EXPECT_EQ(refusals(), 1u);
  EXPECT_EQ(newest().outcome, static_cast<uint32_t>(record::Outcome::kException));
  EXPECT_STREQ(newest().module, "rust.abi3.so");
  EXPECT_TRUE(gate.incident.grace());
  EXPECT_TRUE(ask(kGiB, openmp)) << "and not a second exception at once";
  EXPECT_EQ(g_alarms, 1);
  EXPECT_EQ(refusals(), 1u);
}

GATE_TEST(WhoAbortsOnNullOwesNothingWhereItFits) {
  const Folder folder;
  const void* openmp = pointer(map_module(folder / "libgomp.so.1"));
  guard(budget_of(256 * kMiB));
  count_alarms();
  EXPECT_TRUE(ask(200 * kMiB, openmp));
  EXPECT_EQ(g_alarms, 0);
  EXPECT_EQ(refusals(), 0u);
}

GATE_MEMORY_TEST(GraceOpensWithARefusalAndClosesWhenItWasShownAndThereIsRoom) {
  guard(budget_of(64 * kMiB));
  {
    const Mapped held(64 * kMiB);
    fill_to_12_mib(held);
    EXPECT_FALSE(ask(3 * kMiB + kMiB / 2));
    EXPECT_TRUE(gate.incident.grace());
    EXPECT_EQ(gate.lines_now().large, 8 * kMiB);
    EXPECT_EQ(gate.lines_now().small, 2 * kMiB);
    EXPECT_TRUE(ask(2 * kMiB)) << "half of the reserve is open to large requests";
    gate.incident.surfaced();
    headroom_now();
    EXPECT_TRUE(gate.incident.grace()) << "shown, but no room yet";
  }
  headroom_now();
  EXPECT_FALSE(gate.incident.grace());
  EXPECT_EQ(gate.lines_now().large, 16 * kMiB);
}

GATE_TEST(WarnGrantsAndRecords) {
  options::Values values = budget_of(64 * kMiB);
  values.on_limit = options::OnLimit::kWarn;
  guard(values);
  EXPECT_TRUE(ask(kGiB));
  EXPECT_EQ(refusals(), 1u);
  EXPECT_EQ(newest().outcome, static_cast<uint32_t>(record::Outcome::kReported));
  EXPECT_FALSE(gate.incident.grace()) << "no exception is on its way";
}

TEST(GateTest, ExitEndsTheProcessWithItsReport) {
  const Folder folder;
  const int status = in_child([&] {
    freopen((folder / "stderr").c_str(), "w", stderr);
    options::Values values = budget_of(64 * kMiB);
    values.on_limit = options::OnLimit::kExit;
    guard(values);
    ask(kGiB);
    ADD_FAILURE() << "still there";
  });
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 137);
  std::ifstream file(folder / "stderr");
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  EXPECT_NE(text.find("1024 MiB"), std::string::npos) << text;
}

GATE_MEMORY_TEST(ArenasAreHeldToTheSmallLineAndRefusedWithoutARecord) {
  guard(budget_of(64 * kMiB));
  const Mapped held(64 * kMiB);
  fill_to_12_mib(held);
  const auto arena = [] { return ask(kMiB, interpreter_caller(), record::RequestKind::kMmap); };
  EXPECT_TRUE(arena()) << "between the two lines";
  held.touch(52 * kMiB, 60 * kMiB);
  EXPECT_FALSE(arena());
  EXPECT_FALSE(arena());
  EXPECT_EQ(refusals(), 0u) << "pymalloc asks for the object itself next";
  EXPECT_FALSE(gate.incident.grace());
}

GATE_TEST(TheReserveIsWhatWasConfiguredOrTheFormula) {
  guard(budget_of(256 * kMiB, 40 * kMiB));
  EXPECT_EQ(gate.reserve(), 40 * kMiB);
  options::Values values = budget_of(1000 * kMiB);
  values.reserve_bytes = -1;
  guard(values);
  EXPECT_EQ(gate.reserve(), computed_reserve(values.budget_bytes, gate.cpus()));
}

GATE_TEST(AShareOfTheKernelsLimitIsABudgetToo) {
  options::Values values;
  values.budget_share_permille = 1;
  values.reserve_bytes = 0;
  guard(values);
  EXPECT_FALSE(ask(64 * kGiB));
  EXPECT_EQ(newest().levels[newest().level_count - 1].kind,
            static_cast<uint32_t>(probe::LimitKind::kBudget));
}

// A pool that starts a thread for each task: what one gets must not shrink with their number.
GATE_TEST(ThreadsThatEndedDoNotShrinkTheCreditOfTheLiving) {
  guard(budget_of(512 * kMiB));
  EXPECT_TRUE(ask(100));
  const uint64_t at_first = thread_state.credit;
  for (int i = 0; i < 400; ++i) {
    std::thread([] { ask(100); }).join();
  }
  gate.set_threads(1);  // as the watchdog does at each of its looks
  EXPECT_TRUE(ask(100));
  EXPECT_GE(thread_state.credit, at_first / 2);
}

}  // namespace
}  // namespace oomguard::budget

#include "shim/budget/watchdog.h"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

#include "collector/probe/kernel_text.h"
#include "shim/budget/gate.h"
#include "shim/budget/resident.h"
#include "shim/budget/tree.h"
#include "shim/core/session.h"
#include "tests/shim/budget/harness.h"

namespace oomguard::budget {
namespace {

using test::budget_of;
using test::guard;
using test::expect_in_child;
using test::Mapped;

std::atomic<int> g_alarms{0};

int64_t samples() { return session::file()->header.last_sample_ns; }

bool looks_again() {
  const int64_t before = samples();
  for (int i = 0; i < 2000; ++i) {
    if (samples() > before) return true;
    usleep(1000);
  }
  return false;
}

void start_watchdog(Bytes room) {
  struct sigaction action {};
  action.sa_handler = [](int) { ++g_alarms; };
  sigaction(SIGRTMIN + 4, &action, nullptr);
  guard(budget_of(room));
  gate.alarm.set_signal(SIGRTMIN + 4);
  watchdog::allow();
}

bool start_when_due() {
  for (int i = 0; i < 2000 && watchdog::due(); ++i) {
    watchdog::start_if_due(program_now_ns());
    usleep(1000);
  }
  return !watchdog::due();
}

class WatchdogTest : public testing::Test {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "instrumented code needs the thread's own thread-local storage";
#endif
  }
};

TEST_F(WatchdogTest, WithoutLeaveNothingStarts) {
  expect_in_child([] {
    watchdog::pause();
    watchdog::resume();
    EXPECT_FALSE(watchdog::due());
    watchdog::start_if_due(program_now_ns());
    usleep(20'000);
    EXPECT_EQ(samples(), 0);
  });
}

TEST_F(WatchdogTest, WritesSamplesIntoTheSession) {
  expect_in_child([] {
    start_watchdog(256 * kMiB);
    EXPECT_TRUE(looks_again());
    EXPECT_TRUE(looks_again());
    const record::FlightHeader& header = session::file()->header;
    EXPECT_GT(header.last_usage_bytes, 0);
    EXPECT_NEAR(static_cast<double>(header.last_headroom_bytes), 256.0 * kMiB, 8.0 * kMiB);
  });
}

std::vector<record::Sample> timeline() {
  const record::View& view = session::view();
  std::vector<record::Sample> looks;
  for (uint32_t i = 0; i < record::kRings[0].count; ++i) {
    if (view.timeline[i].sequence != 0) looks.push_back(view.timeline[i].sample);
  }
  return looks;
}

TEST_F(WatchdogTest, WritesATimelineAlsoWhereNothingMoves) {
  expect_in_child([] {
    const test::Folder folder;
    session::start(folder.path().c_str(), 256 * kMiB, 0, 0, "");
    start_watchdog(256 * kMiB);
    const int64_t end_ns = program_now_ns() + 2'500'000'000;
    while (program_now_ns() < end_ns) usleep(10'000);
    const auto looks = timeline();
    ASSERT_GE(looks.size(), 3u);
    EXPECT_GT(looks.back().needed_bytes, 0);
    EXPECT_EQ(looks.back().limit_bytes - looks.back().needed_bytes, looks.back().headroom_bytes);
    EXPECT_GT(looks.back().own_anonymous_bytes, 0);
    EXPECT_NE(session::view().timeline[record::kRings[1].first].sequence, 0u) << "a second ended";
  });
}

TEST_F(WatchdogTest, AChildsRecordStaysInMemoryWhenItBecomesAFile) {
  expect_in_child([] {
    const test::Folder folder;
    session::start(folder.path().c_str(), 256 * kMiB, 0, 0, "");
    start_watchdog(256 * kMiB);
    ASSERT_TRUE(looks_again());
    expect_in_child([] {
      session::on_fork_child();
      watchdog::on_fork_child();
      ASSERT_TRUE(looks_again());
      const size_t before = timeline().size();
      session::ensure_own_file();
      ASSERT_STRNE(session::path(), "");
      ASSERT_TRUE(looks_again());
      ASSERT_TRUE(looks_again());
      EXPECT_GT(timeline().size(), before) << "what it had, and more";
      probe::KeyedValue locked{"VmLck:"};
      ASSERT_EQ(probe::read_keyed_once({"/proc/self", "status"}, &locked, 1), 0);
      EXPECT_EQ(locked.value, resident::kept_bytes());
    });
  });
}

// An open file is memory of the kernel's, charged to a group that may have none left.
TEST_F(WatchdogTest, SeesItsOwnMemoryGrowWithoutOpeningAFile) {
  expect_in_child([] {
    start_watchdog(256 * kMiB);
    ASSERT_TRUE(looks_again());
    rlimit64 none{0, 0};
    ASSERT_EQ(setrlimit64(RLIMIT_NOFILE, &none), 0);
    const Bytes before = tree::last_known_memory();
    EXPECT_GT(before, 0);
    const Mapped grown(64 * kMiB);
    grown.touch();
    bool seen = false;
    for (int i = 0; i < 2000 && !seen; ++i) {
      seen = tree::last_known_memory() >= before + 64 * kMiB;
      usleep(1000);
    }
    EXPECT_TRUE(seen);
  });
}

// A full group drops the pages of mapped files, this library's among them.
TEST_F(WatchdogTest, WhatItRunsOnStaysInMemory) {
  expect_in_child([] {
    start_watchdog(256 * kMiB);
    ASSERT_TRUE(looks_again());
    probe::KeyedValue locked{"VmLck:"};
    ASSERT_EQ(probe::read_keyed_once({"/proc/self", "status"}, &locked, 1), 0);
    EXPECT_EQ(locked.value, resident::kept_bytes());
    rlimit64 limit;
    ASSERT_EQ(getrlimit64(RLIMIT_MEMLOCK, &limit), 0);
    EXPECT_TRUE(locked.value > 64 * 1024 || limit.rlim_cur < 64 * kMiB) << locked.value;
  });
}

TEST_F(WatchdogTest, GrowthByTouchingGetsAnExceptionBeforeTheLimit) {
  expect_in_child([] {
    start_watchdog(128 * kMiB);
    ASSERT_TRUE(looks_again());
    const Mapped memory(400 * kMiB);
    size_t touched = 0;
    for (; touched < 400 * kMiB && g_alarms == 0; touched += kMiB) {
      memory.touch(touched, touched + kMiB);
      usleep(500);
    }
    EXPECT_EQ(g_alarms, 1);
    EXPECT_GT(touched, 32u * kMiB) << "not long before it is near";
    const record::RefusalRecord& refusal = session::file()->refusals[0];
    EXPECT_EQ(refusal.kind, static_cast<uint32_t>(record::RequestKind::kTouch));
    EXPECT_EQ(refusal.outcome, static_cast<uint32_t>(record::Outcome::kException));
    EXPECT_TRUE(gate.incident.grace());
    usleep(50'000);
    EXPECT_EQ(g_alarms, 1) << "one until its handler has ended";
  });
}

TEST_F(WatchdogTest, AProcessThatStandsStillNearItsLimitIsLeftAlone) {
  expect_in_child([] {
    const Mapped memory(64 * kMiB);
    memory.touch();
    start_watchdog(1 * kMiB);
    usleep(300'000);
    EXPECT_TRUE(looks_again());
    EXPECT_EQ(g_alarms, 0);
  });
}

TEST_F(WatchdogTest, PauseNestsAndItComesBackAWhileAfterTheLastResume) {
  expect_in_child([] {
    start_watchdog(256 * kMiB);
    ASSERT_TRUE(looks_again());
    watchdog::pause();
    watchdog::pause();
    watchdog::resume();
    EXPECT_FALSE(watchdog::due()) << "still paused once";
    const int64_t before = samples();
    usleep(50'000);
    EXPECT_EQ(samples(), before);
    watchdog::resume(false);
    EXPECT_TRUE(watchdog::due());
    EXPECT_TRUE(start_when_due());
    EXPECT_TRUE(looks_again());
  });
}

// A program that only fills memory after it forked never comes to a slow path.
TEST_F(WatchdogTest, ComesBackByItselfWhereNobodyCountsThreads) {
  expect_in_child([] {
    start_watchdog(256 * kMiB);
    ASSERT_TRUE(looks_again());
    watchdog::pause();
    watchdog::resume();
    EXPECT_FALSE(watchdog::due());
    EXPECT_TRUE(looks_again());
  });
}

TEST_F(WatchdogTest, WhereTheyAreCountedItComesBackWhenItIsTold) {
  expect_in_child([] {
    start_watchdog(256 * kMiB);
    watchdog::pause();
    watchdog::resume(false);
    const int64_t before = samples();
    usleep(50'000);
    EXPECT_EQ(samples(), before);
    watchdog::start_now();
    EXPECT_FALSE(watchdog::due());
    EXPECT_TRUE(looks_again());
  });
}

TEST_F(WatchdogTest, DoesNotComeBackBeforeItsTimeOrWhilePaused) {
  expect_in_child([] {
    start_watchdog(256 * kMiB);
    watchdog::pause();
    watchdog::resume(false);
    watchdog::start_if_due(program_now_ns() - 1'000'000'000);
    EXPECT_TRUE(watchdog::due());
    watchdog::pause();
    watchdog::start_if_due(program_now_ns() + 1'000'000'000);
    const int64_t before = samples();
    usleep(50'000);
    EXPECT_EQ(samples(), before);
  });
}

TEST_F(WatchdogTest, AForkedChildStartsItsOwn) {
  expect_in_child([] {
    start_watchdog(256 * kMiB);
    ASSERT_TRUE(looks_again());
    watchdog::pause();
    expect_in_child([] {
      session::on_fork_child();
      gate.on_fork_child();
      watchdog::on_fork_child();
      EXPECT_TRUE(looks_again());
    });
    watchdog::resume();
    EXPECT_TRUE(looks_again());
  });
}

}  // namespace
}  // namespace oomguard::budget

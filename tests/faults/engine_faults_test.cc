// A guarded process in which one system call of the engine fails: it goes on, a request that fits is
// granted, and what does not fit is refused again once the kernel answers again.
#include <gtest/gtest.h>
#include <signal.h>

#include <thread>

#include "shim/budget/group_table.h"
#include "shim/budget/raw_thread.h"
#include "shim/budget/watchdog.h"
#include "shim/core/engine.h"
#include "shim/core/meminfo.h"
#include "shim/core/session.h"
#include "shim/core/thread_state.h"
#include "tests/faults/each_failure.h"

namespace oomguard::faults {
namespace {

using budget::Admission;
using budget::gate;
using budget::kMiB;

bool granted(int64_t size) {
  thread_state.credit = 0;
  Admission admission(record::RequestKind::kMalloc, static_cast<size_t>(size),
                      test::interpreter_caller());
  return admission.granted();
}

void fork_and_ask() {
  test::expect_in_child([] {
    thread_state.thread_id = 0;
    thread_state.credit = 0;
    budget::ledger.on_fork_child();
    session::on_fork_child();
    budget::group_table.close_in_child();
    gate.on_fork_child();
    budget::watchdog::on_fork_child();
    EXPECT_TRUE(granted(8 * kMiB));
    granted(512 * kMiB);
    budget::group_table.leave();
    session::finish();
  });
}

void engine_scenario(const Plan& plan, bool with_watchdog) {
  const test::Folder folder;
  options::Values values = test::budget_of(128 * kMiB);
  strcpy(values.directory, folder.path().c_str());
  arm(plan);
  test::guard(values);
  session::start(values.directory, 128 * kMiB, gate.reserve(), gate.probe.oom_kills(), "");
  budget::group_table.open(values.directory, gate.probe.group_key());
  if (with_watchdog) budget::watchdog::allow();
  EXPECT_TRUE(granted(8 * kMiB)) << "refused for want of an answer";
  granted(512 * kMiB);
  engine::Usage usage;
  static_cast<void>(engine::usage(&usage));
  budget::watchdog::pause();
  fork_and_ask();
  budget::watchdog::resume();
  disarm();
  gate.probe.refresh();
  if (granted(512 * kMiB)) {
    // An answer without the level that could not be read holds for some milliseconds.
    while (gate.has_plenty_for(1)) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_FALSE(granted(512 * kMiB)) << "it does not guard any more";
  }
  EXPECT_GE(engine::refusal_count(), 1u);
  arm(plan);
  budget::watchdog::pause();
  budget::group_table.leave();
  session::finish();
  disarm();
}

TEST(EngineFaultsTest, AStartWithAFailureGuardsOrPassesEverythingThrough) {
  each_failure([](const Plan& plan) { engine_scenario(plan, false); }, {EIO});
}

TEST(EngineFaultsTest, TheWatchdogSurvivesEveryFailure) {
  OOMGUARD_SKIP_UNDER_TSAN();
  each_failure([](const Plan& plan) { engine_scenario(plan, true); }, {EIO});
}

// MemTotal's line of /proc/meminfo.
std::string total_of(int fd) {
  char text[28] = "";
  return pread(fd, text, sizeof text - 1, 0) > 0 ? text : "";
}

TEST(EngineFaultsTest, AViewThatCannotBeMadeLeavesTheTextThatIsThere) {
  each_failure(
      [](const Plan& plan) {
        test::guard(test::budget_of(128 * kMiB));
        const int fd = open("/proc/meminfo", O_RDONLY);
        const std::string machine = total_of(fd);
        const int descriptors = open_descriptors();
        arm(plan);
        meminfo::replace(fd);
        disarm();
        EXPECT_TRUE(total_of(fd) == machine || meminfo::may_be_copy(fd));
        meminfo::replace(fd);  // where it was not, now
        const std::string budget = total_of(fd);
        EXPECT_TRUE(budget < machine && meminfo::may_be_copy(fd)) << budget;
        arm(plan);
        static_cast<void>(meminfo::renew(fd));
        disarm();
        EXPECT_EQ(total_of(fd), budget);
        EXPECT_EQ(open_descriptors(), descriptors);
      },
      {EIO});
}

TEST(EngineFaultsTest, WhereSignalsCannotBeBlockedNoThreadStartsAndTheMaskStays) {
  OOMGUARD_SKIP_UNDER_TSAN();
  test::expect_in_child([] {
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    ASSERT_EQ(sigprocmask(SIG_SETMASK, &mask, nullptr), 0);
    static budget::RawThread thread;
    arm({1, false, EPERM});
    EXPECT_FALSE(thread.start([] {}));
    disarm();
    ASSERT_EQ(sigprocmask(SIG_SETMASK, nullptr, &mask), 0);
    EXPECT_EQ(sigismember(&mask, SIGUSR1), 1);
    EXPECT_TRUE(thread.start([] {}));
    thread.stop();
  });
}

}  // namespace
}  // namespace oomguard::faults

#include "shim/core/chores.h"

#include <gtest/gtest.h>

#include "shim/budget/watchdog.h"
#include "shim/core/session.h"
#include "tests/shim/budget/harness.h"

namespace oomguard::chores {
namespace {

TEST(ChoresTest, WithoutAnInterpreterAndAWatchdogThereIsNothingToDo) {
  test::expect_in_child([] {
    EXPECT_EQ(credit_limit(), INT64_MAX);
    on_slow_path(getpid());
    EXPECT_EQ(credit_limit(), INT64_MAX);
  });
}

TEST(ChoresTest, SlowPathsStartTheWatchdogAgainOnceItIsDue) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "instrumented code needs the thread's own thread-local storage";
#endif
  test::expect_in_child([] {
    test::guard(test::budget_of(256 * test::kMiB));
    budget::watchdog::allow();
    budget::watchdog::pause();
    budget::watchdog::resume(false);
    EXPECT_LT(credit_limit(), 64 * 1024) << "the next requests must keep coming here";
    for (int i = 0; i < 2000 && budget::watchdog::due(); ++i) {
      on_slow_path(getpid());
      usleep(1000);
    }
    EXPECT_EQ(credit_limit(), INT64_MAX);
    const int64_t before = session::file()->header.last_sample_ns;
    for (int i = 0; i < 2000 && session::file()->header.last_sample_ns == before; ++i) {
      usleep(1000);
    }
    EXPECT_NE(session::file()->header.last_sample_ns, before);
  });
}

}  // namespace
}  // namespace oomguard::chores

#include "shim/budget/raw_thread.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "collector/probe/syscall.h"
#include "tests/shim/budget/harness.h"

namespace oomguard::budget {
namespace {

using test::expect_in_child;
using test::in_child;

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kHour = 3600 * 1000 * kMs;

RawThread g_thread;
std::atomic<int> g_rounds{0};
std::atomic<int64_t> g_sleep_ns{kHour};
std::atomic<int32_t> g_thread_id{0};

void body() {
  g_thread_id = static_cast<int32_t>(sys::call(SYS_gettid));
  while (!g_thread.stopping()) {
    g_rounds.fetch_add(1);
    g_thread.sleep(g_sleep_ns);
  }
}

int run_program(const char* step) {
  return in_child([step] {
    execl(OOMGUARD_SINGLE_THREADED, OOMGUARD_SINGLE_THREADED, step, nullptr);
    FAIL() << "cannot execute " << OOMGUARD_SINGLE_THREADED;
  });
}

class RawThreadTest : public testing::Test {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "instrumented code needs the thread's own thread-local storage";
#endif
    g_rounds = 0;
    g_thread_id = 0;
    g_sleep_ns = kHour;
  }
  void TearDown() override {
    g_thread.stop();
    g_thread.sleep_on(nullptr);
  }
  static bool reaches(int rounds) {
    for (int i = 0; i < 5000 && g_rounds < rounds; ++i) usleep(1000);
    return g_rounds >= rounds;
  }
};

TEST_F(RawThreadTest, RunsItsBodyUntilItIsStopped) {
  EXPECT_FALSE(g_thread.running());
  ASSERT_TRUE(g_thread.start(body));
  EXPECT_TRUE(g_thread.running());
  EXPECT_TRUE(reaches(1));
  g_thread.stop();
  EXPECT_FALSE(g_thread.running());
  EXPECT_TRUE(g_thread.stopping());
  const int rounds = g_rounds;
  usleep(20'000);
  EXPECT_EQ(g_rounds, rounds);
}

TEST_F(RawThreadTest, StoppingWhatDoesNotRunReturnsAtOnce) {
  g_thread.stop();
  g_thread.stop();
  EXPECT_FALSE(g_thread.running());
}

TEST_F(RawThreadTest, StartsAndStopsAThousandTimesInMicroseconds) {
  std::vector<int64_t> stops;
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(g_thread.start(body)) << i;
    const int64_t before = sys::monotonic_ns();
    g_thread.stop();
    stops.push_back(sys::monotonic_ns() - before);
    ASSERT_FALSE(g_thread.running());
  }
  EXPECT_LE(g_rounds, 1000);
  std::sort(stops.begin(), stops.end());
  EXPECT_LT(stops[500], 5 * kMs) << "median, it sleeps for an hour otherwise";
}

TEST_F(RawThreadTest, StopEndsALongSleep) {
  std::vector<int64_t> stops;
  for (int i = 1; i <= 50; ++i) {
    ASSERT_TRUE(g_thread.start(body));
    ASSERT_TRUE(reaches(i));
    usleep(500);
    const int64_t before = sys::monotonic_ns();
    g_thread.stop();
    stops.push_back(sys::monotonic_ns() - before);
  }
  std::sort(stops.begin(), stops.end());
  EXPECT_LT(stops[25], 5 * kMs);
}

TEST_F(RawThreadTest, SleepsAsLongAsItWasToldAndWakesWhenCalled) {
  g_sleep_ns = 10 * kMs;
  ASSERT_TRUE(g_thread.start(body));
  ASSERT_TRUE(reaches(1));
  const int64_t before = sys::monotonic_ns();
  ASSERT_TRUE(reaches(6));
  EXPECT_GT(sys::monotonic_ns() - before, 35 * kMs);
  g_sleep_ns = kHour;
  usleep(100'000);  // the sleep that it is in still ends by itself
  const int rounds = g_rounds;
  g_thread.wake();
  EXPECT_TRUE(reaches(rounds + 1));
}

TEST_F(RawThreadTest, ANeighbourWakesItThroughASharedWord) {
  auto* word = static_cast<std::atomic<uint32_t>*>(
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(word, MAP_FAILED);
  g_thread.sleep_on(word);
  ASSERT_TRUE(g_thread.start(body));
  ASSERT_TRUE(reaches(1));
  usleep(5000);
  expect_in_child([&] {
    word->fetch_add(1);
    sys::call(SYS_futex, sys::as_arg(word), 1 /*FUTEX_WAKE*/, 1);
  });
  EXPECT_TRUE(reaches(2));
  g_thread.stop();
  g_thread.sleep_on(nullptr);
  munmap(word, 4096);
}

TEST_F(RawThreadTest, AllItsSignalsAreBlockedAndItsStartersAreNot) {
  sigset_t before;
  sigset_t after;
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  ASSERT_TRUE(g_thread.start(body));
  pthread_sigmask(SIG_SETMASK, nullptr, &after);
  for (int number = 1; number <= SIGRTMAX; ++number) {
    EXPECT_EQ(sigismember(&before, number), sigismember(&after, number)) << number;
  }
  ASSERT_TRUE(reaches(1));
  std::ifstream status("/proc/self/task/" + std::to_string(g_thread_id) + "/status");
  std::string blocked;
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("SigBlk:", 0) == 0) blocked = line.substr(8);
  }
  // All but SIGKILL (9) and SIGSTOP (19), which cannot be blocked.
  EXPECT_EQ(blocked, "fffffffffffbfeff");
}

TEST_F(RawThreadTest, SignalsOfTheProcessGoToItsOwnThreads) {
  static std::atomic<int32_t> receiver{0};
  struct sigaction action {};
  struct sigaction saved {};
  action.sa_handler = [](int) { receiver = static_cast<int32_t>(sys::call(SYS_gettid)); };
  sigaction(SIGUSR1, &action, &saved);
  ASSERT_TRUE(g_thread.start(body));
  ASSERT_TRUE(reaches(1));
  for (int i = 0; i < 100; ++i) {
    receiver = 0;
    kill(getpid(), SIGUSR1);
    ASSERT_NE(receiver, g_thread_id);
  }
  sigaction(SIGUSR1, &saved, nullptr);
}

TEST_F(RawThreadTest, IsOneOfTheProcesssTasksAndGoneAfterStop) {
  ASSERT_TRUE(g_thread.start(body));
  ASSERT_TRUE(reaches(1));
  const std::string task = "/proc/self/task/" + std::to_string(g_thread_id);
  EXPECT_EQ(access(task.c_str(), F_OK), 0);
  g_thread.stop();
  EXPECT_NE(access(task.c_str(), F_OK), 0) << "stop waits until the kernel says so";
}

TEST_F(RawThreadTest, TwoThreadsMayStopItAtOnce) {
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(g_thread.start(body));
    std::thread other([] { g_thread.stop(); });
    g_thread.stop();
    other.join();
    ASSERT_FALSE(g_thread.running());
  }
}

TEST_F(RawThreadTest, AForkedChildForgetsItAndMayStartItsOwn) {
  OOMGUARD_SKIP_UNDER_SANITIZERS();
  ASSERT_TRUE(g_thread.start(body));
  ASSERT_TRUE(reaches(1));
  expect_in_child([] {
    EXPECT_TRUE(g_thread.running()) << "memory says so until it is forgotten";
    g_thread.forget();
    EXPECT_FALSE(g_thread.running());
    const int before = g_rounds;
    ASSERT_TRUE(g_thread.start(body));
    EXPECT_TRUE(reaches(before + 1));
    g_thread.stop();
  });
  EXPECT_TRUE(g_thread.running());
}

TEST_F(RawThreadTest, LibcStillBelievesInOneThread) { EXPECT_EQ(run_program("stays-single"), 0); }
TEST_F(RawThreadTest, ForkSeesOneTaskWhileItIsStopped) {
  EXPECT_EQ(run_program("forks-while-stopped"), 0);
}
TEST_F(RawThreadTest, IsNobodysChildAndDoesNotHoldUpTheExit) {
  EXPECT_EQ(run_program("is-nobodys-child"), 0);
}
TEST_F(RawThreadTest, EndsWhenTheProcessExecutesAnotherProgram) {
  EXPECT_EQ(run_program("execs"), 0);
}

}  // namespace
}  // namespace oomguard::budget

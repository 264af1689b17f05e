#include "shim/budget/alarm.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <thread>
#include <vector>

#include "tests/shim/budget/harness.h"

namespace oomguard::budget {
namespace {

using test::expect_in_child;

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kNow = 100'000 * kMs;

std::atomic<int> g_received{0};
std::atomic<pthread_t> g_receiver{};

class AlarmTest : public testing::Test {
 protected:
  void SetUp() override {
    g_received = 0;
    struct sigaction action {};
    action.sa_handler = [](int) {
      ++g_received;
      g_receiver = pthread_self();
    };
    ASSERT_EQ(sigaction(signal_, &action, &before_), 0);
  }
  void TearDown() override { sigaction(signal_, &before_, nullptr); }

  const int signal_ = SIGRTMIN + 5;
  struct sigaction before_ {};
  Alarm alarm_;
  int32_t grower_ = -1;
};

TEST_F(AlarmTest, IsSilentWithoutAHandlerInPlace) {
  EXPECT_FALSE(alarm_.ready(kNow));
  EXPECT_FALSE(alarm_.send(1, 42, kNow));
  alarm_.set_signal(signal_);
  EXPECT_TRUE(alarm_.ready(kNow));
  alarm_.set_signal(0);
  EXPECT_FALSE(alarm_.send(1, 42, kNow));
  EXPECT_EQ(g_received, 0);
}

TEST_F(AlarmTest, SendsOnceAndSaysWhy) {
  alarm_.set_signal(signal_);
  EXPECT_TRUE(alarm_.send(17, 4711, kNow));
  EXPECT_EQ(g_received, 1);
  EXPECT_EQ(alarm_.refusal(&grower_), 17u);
  EXPECT_EQ(grower_, 4711);
  EXPECT_FALSE(alarm_.send(18, 4712, kNow + kMs)) << "the handler has not ended";
  EXPECT_EQ(alarm_.refusal(&grower_), 17u);
  EXPECT_EQ(grower_, 4711);
  EXPECT_EQ(g_received, 1);
}

TEST_F(AlarmTest, TheProgramGetsAPauseToUnwind) {
  alarm_.set_signal(signal_);
  EXPECT_TRUE(alarm_.send(1, 1, kNow));
  alarm_.handled(kNow + 10 * kMs);
  EXPECT_FALSE(alarm_.ready(kNow + 109 * kMs));
  EXPECT_FALSE(alarm_.send(2, 1, kNow + 109 * kMs));
  EXPECT_TRUE(alarm_.send(2, 1, kNow + 111 * kMs));
  EXPECT_EQ(g_received, 2);
}

TEST_F(AlarmTest, ASignalThatCannotBeSentLeavesTheAlarmReady) {
  alarm_.set_signal(12345);
  EXPECT_FALSE(alarm_.send(1, 1, kNow));
  alarm_.set_signal(signal_);
  EXPECT_TRUE(alarm_.send(2, 1, kNow));
}

// The program put a handler of its own in the place of ours: that alarm is never reported handled.
TEST_F(AlarmTest, AnAlarmThatWasLostDoesNotSilenceTheLaterOnes) {
  alarm_.set_signal(signal_);
  EXPECT_TRUE(alarm_.send(1, 1, kNow));
  EXPECT_FALSE(alarm_.send(2, 1, kNow + 1000 * kMs)) << "a call into C may hold it back";
  EXPECT_TRUE(alarm_.send(3, 1, kNow + 60'000 * kMs));
  EXPECT_EQ(alarm_.refusal(&grower_), 3u);
}

TEST_F(AlarmTest, ReachesTheMainThreadWhoeverSends) {
  alarm_.set_signal(signal_);
  bool sent = false;
  std::thread([&] { sent = alarm_.send(1, 1, kNow); }).join();
  EXPECT_TRUE(sent);
  EXPECT_EQ(g_received, 1);
  EXPECT_TRUE(pthread_equal(g_receiver, pthread_self()));
}

TEST_F(AlarmTest, OneOfManyThreadsSends) {
  alarm_.set_signal(signal_);
  for (int round = 0; round < 50; ++round) {
    std::atomic<int> sent{0};
    const int64_t now = kNow + round * 1000 * kMs;
    std::vector<std::thread> threads;
    for (uint64_t t = 1; t <= 4; ++t) {
      threads.emplace_back([&, t] { sent += alarm_.send(t, 1, now); });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(sent, 1);
    alarm_.handled(now);
  }
}

TEST_F(AlarmTest, AForkedChildOwesNoHandlerOfItsParent) {
  alarm_.set_signal(signal_);
  EXPECT_TRUE(alarm_.send(1, 1, kNow));
  expect_in_child([&] {
    EXPECT_FALSE(alarm_.ready(kNow + kMs));
    alarm_.on_fork_child();
    EXPECT_TRUE(alarm_.ready(kNow + kMs));
    g_received = 0;
    EXPECT_TRUE(alarm_.send(2, 1, kNow + kMs));
    EXPECT_EQ(g_received, 1) << "it goes to the child itself";
  });
  EXPECT_EQ(g_received, 1);
}

}  // namespace
}  // namespace oomguard::budget

#include "shim/spill/stop.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/uio.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "tests/shim/spill/harness.h"

namespace oomguard::spill {
namespace {

using test::lend_once;

constexpr size_t kBlock = 32 * 1024 * 1024;
constexpr int64_t kSecond = 1'000'000'000;

void block_all_signals() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
}

// Waits until the thread sleeps in the kernel.
void wait_until_asleep(const std::atomic<int32_t>& thread_id) {
  for (int i = 0; i < 5000; ++i, usleep(1000)) {
    if (thread_id.load() == 0) continue;
    std::ifstream status("/proc/self/task/" + std::to_string(thread_id.load()) + "/status");
    for (std::string line; std::getline(status, line);) {
      if (line.rfind("State:\tS", 0) == 0) return;
    }
  }
  FAIL() << "the thread never slept";
}

struct Pipe {
  int ends[2];
  Pipe() {
    if (pipe(ends) != 0) abort();
  }
};

int32_t own_id() { return static_cast<int32_t>(sys::call(SYS_gettid)); }

class Stop : public testing::Test {
 protected:
  void SetUp() override { OOMGUARD_SKIP_UNDER_SANITIZER(); }
};

TEST_F(Stop, ThreadsStandStillUntilTheyAreResumed) {
  expect_in_child([] {
    configure();
    Raw raw;
    std::atomic<bool> end{false};
    std::atomic<uint64_t> counters[4] = {};
    std::vector<std::thread> threads;
    for (auto& counter : counters) {
      threads.emplace_back([&] {
        while (!end.load()) counter.fetch_add(1);
      });
    }
    // A thread that has not run yet has all signals blocked.
    for (auto& counter : counters) {
      while (counter.load() == 0) usleep(100);
    }
    bool stopped = false;
    uint64_t moved = 0;
    raw.run([&] {
      stopped = stop_all(5 * kSecond);
      uint64_t before[4];
      for (int i = 0; i < 4; ++i) before[i] = counters[i].load();
      const timespec pause{0, 20'000'000};
      sys::call(SYS_nanosleep, sys::as_arg(&pause), 0);
      for (int i = 0; i < 4; ++i) moved += counters[i].load() - before[i];
      resume_all();
    });
    const uint64_t after = counters[0].load();
    for (int i = 0; i < 5000 && counters[0].load() == after; ++i) usleep(1000);
    EXPECT_TRUE(stopped);
    EXPECT_EQ(moved, 0u);
    EXPECT_NE(counters[0].load(), after);
    end = true;
    for (auto& thread : threads) thread.join();
  });
}

TEST_F(Stop, AReadIntoABlockGoesOnAndFindsItsData) {
  expect_in_child([] {
    configure();
    Raw raw;
    HeapBlock block(kBlock);
    const Pipe pipe;
    std::atomic<int32_t> reader{0};
    ssize_t got = 0;
    std::thread thread([&] {
      reader = own_id();
      got = read(pipe.ends[0], block.data() + 8 * kMiB, 4096);
    });
    wait_until_asleep(reader);
    EXPECT_EQ(lend(raw).outcome, Outcome::kLent);
    char data[4096];
    memset(data, 7, sizeof data);
    ASSERT_EQ(write(pipe.ends[1], data, sizeof data), 4096);
    thread.join();
    EXPECT_EQ(got, 4096);
    EXPECT_EQ(memcmp(block.data() + 8 * kMiB, data, sizeof data), 0);
  });
}

// libzmq's threads block every signal.
template <typename Read>
void expect_left_alone(Read read_into) {
  configure();
  Raw raw;
  HeapBlock block(kBlock);
  HeapBlock other(kBlock);
  const Pipe pipe;
  std::atomic<int32_t> reader{0};
  ssize_t got = 0;
  std::thread thread([&] {
    block_all_signals();
    reader = own_id();
    got = read_into(pipe.ends[0], block.data() + 8 * kMiB);
  });
  wait_until_asleep(reader);
  EXPECT_EQ(lend(raw).outcome, Outcome::kLent);
  EXPECT_FALSE(is_lent(block.address()));
  EXPECT_TRUE(is_lent(other.address()));
  ASSERT_EQ(write(pipe.ends[1], "data", 4), 4);
  thread.join();
  EXPECT_EQ(got, 4);
  EXPECT_EQ(memcmp(block.data() + 8 * kMiB, "data", 4), 0);
  EXPECT_TRUE(lend(raw).outcome == Outcome::kLent && is_lent(block.address())) << "now it may";
}

TEST_F(Stop, ABlockThatASignalProofThreadReadsIntoIsLeftAlone) {
  expect_in_child([] {
    expect_left_alone([](int fd, char* to) { return read(fd, to, 4096); });
  });
}

TEST_F(Stop, SoIsOneInAListOfBuffers) {
  expect_in_child([] {
    expect_left_alone([](int fd, char* to) {
      char first[1];
      iovec list[2] = {{first, 0}, {to, 4096}};
      return readv(fd, list, 2);
    });
  });
}

TEST_F(Stop, SoIsOneThatASignalProofThreadAllocated) {
  expect_in_child([] {
    configure();
    Raw raw;
    HeapBlock other(kBlock);
    std::unique_ptr<HeapBlock> block;
    const Pipe pipe;
    std::atomic<int32_t> sleeper{0};
    std::thread thread([&] {
      block_all_signals();
      block = std::make_unique<HeapBlock>(kBlock);
      sleeper = own_id();
      pollfd wait{pipe.ends[0], POLLIN, 0};
      poll(&wait, 1, -1);
    });
    wait_until_asleep(sleeper);
    EXPECT_EQ(lend(raw).outcome, Outcome::kLent);
    EXPECT_FALSE(is_lent(block->address()));
    EXPECT_TRUE(is_lent(other.address()));
    ASSERT_EQ(write(pipe.ends[1], "x", 1), 1);
    thread.join();
  });
}

TEST_F(Stop, AThreadThatRunsWithSignalsBlockedMakesItGiveUpSoon) {
  expect_in_child([] {
    configure();
    Raw raw;
    HeapBlock block(kBlock);
    std::atomic<bool> end{false};
    std::atomic<bool> runs{false};
    std::thread thread([&] {
      block_all_signals();
      while (!end.load()) runs = true;
    });
    while (!runs.load()) usleep(100);
    EXPECT_EQ(lend_once(raw).outcome, Outcome::kNotStopped);
    EXPECT_FALSE(active());
    end = true;
    thread.join();
    EXPECT_EQ(lend(raw).outcome, Outcome::kLent) << "gone, it hinders nobody";
  });
}

TEST_F(Stop, AThreadInSigwaitIsLeftInPeace) {
  expect_in_child([] {
    configure();
    Raw raw;
    HeapBlock block(kBlock);
    std::atomic<int32_t> waiter{0};
    std::atomic<int> woken_by{0};
    std::thread thread([&] {
      sigset_t all;
      sigfillset(&all);
      pthread_sigmask(SIG_SETMASK, &all, nullptr);
      waiter = own_id();
      int number = 0;
      sigwait(&all, &number);
      woken_by = number;
    });
    wait_until_asleep(waiter);
    EXPECT_EQ(lend(raw).outcome, Outcome::kLent);
    EXPECT_EQ(woken_by.load(), 0);
    pthread_kill(thread.native_handle(), SIGUSR1);
    thread.join();
    EXPECT_EQ(woken_by.load(), SIGUSR1);
  });
}

TEST_F(Stop, NeitherErrnoNorTheSignalMaskChange) {
  expect_in_child([] {
    configure();
    Raw raw;
    HeapBlock block(kBlock);
    std::atomic<bool> end{false};
    std::atomic<bool> ready{false};
    bool same = true;
    std::thread thread([&] {
      sigset_t before;
      pthread_sigmask(SIG_SETMASK, nullptr, &before);
      errno = 77;
      ready = true;
      while (!end.load()) same = same && errno == 77;
      sigset_t after;
      pthread_sigmask(SIG_SETMASK, nullptr, &after);
      for (int i = 1; i < 64; ++i) same = same && sigismember(&before, i) == sigismember(&after, i);
    });
    while (!ready.load()) usleep(100);
    EXPECT_EQ(lend(raw).outcome, Outcome::kLent);
    end = true;
    thread.join();
    EXPECT_TRUE(same);
  });
}

// What lender.h says of calls that are never restarted.
TEST_F(Stop, APollEndsWithEintr) {
  expect_in_child([] {
    configure();
    Raw raw;
    HeapBlock block(kBlock);
    const Pipe pipe;
    std::atomic<int32_t> sleeper{0};
    int result = 0;
    int error = 0;
    std::thread thread([&] {
      sleeper = own_id();
      pollfd wait{pipe.ends[0], POLLIN, 0};
      result = poll(&wait, 1, 20'000);
      error = errno;
    });
    wait_until_asleep(sleeper);
    EXPECT_EQ(lend(raw).outcome, Outcome::kLent);
    thread.join();
    EXPECT_EQ(result, -1);
    EXPECT_EQ(error, EINTR);
  });
}

void* spin(void* end) {
  while (!static_cast<std::atomic<bool>*>(end)->load()) {
  }
  return nullptr;
}

TEST_F(Stop, ThreadsWithTheSmallestStackStopToo) {
  expect_in_child([] {
    configure();
    Raw raw;
    HeapBlock block(kBlock);
    std::atomic<bool> end{false};
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, static_cast<size_t>(sysconf(_SC_THREAD_STACK_MIN)));
    pthread_t threads[4];
    for (auto& thread : threads) ASSERT_EQ(pthread_create(&thread, &attributes, spin, &end), 0);
    const Result result = lend(raw);
    EXPECT_EQ(result.outcome, Outcome::kLent);
    EXPECT_GE(result.threads, 5u);
    end = true;
    for (auto& thread : threads) pthread_join(thread, nullptr);
  });
}

TEST_F(Stop, ThreadsThatComeAndGoDoNotGetPast) {
  expect_in_child([] {
    configure(test::kGiB, test::kGiB);
    Raw raw;
    std::atomic<bool> end{false};
    std::atomic<size_t> errors{0};
    HeapBlock block(kBlock);
    std::thread starter([&] {
      for (uint64_t round = 0; !end.load(); ++round) {
        const size_t at = round % 500 * 65536 + 4096;
        std::thread writer([&] { fill(block.data(), at, at + 8192, 5); });
        writer.join();
        errors.fetch_add(wrong(block.data(), at, at + 8192, 5));
      }
    });
    int lent = 0;
    for (int round = 0; round < 30; ++round) {
      if (lend(raw, kMiB).outcome == Outcome::kLent) ++lent;
      usleep(2000);
    }
    end = true;
    starter.join();
    EXPECT_GT(lent, 0);
    EXPECT_EQ(errors.load(), 0u);
  });
}

std::atomic<int> g_seen{0};

TEST_F(Stop, ASignalThatTheProgramTookIsNotSentAgain) {
  expect_in_child([] {
    configure();
    Raw raw;
    HeapBlock block(kBlock);
    ASSERT_EQ(lend(raw).outcome, Outcome::kLent);
    for (int number = SIGRTMIN; number <= SIGRTMAX - 20; ++number) {
      signal(number, [](int) { g_seen.fetch_add(1); });
    }
    struct sigaction ours;
    for (int number = SIGRTMAX - 19; number <= SIGRTMAX; ++number) {
      sigaction(number, nullptr, &ours);
      if (ours.sa_handler != SIG_DFL) signal(number, [](int) { g_seen.fetch_add(1); });
    }
    HeapBlock second(kBlock);
    EXPECT_EQ(lend(raw).outcome, Outcome::kLent);
    EXPECT_EQ(g_seen.load(), 0);
  });
}

TEST_F(Stop, WithNoSignalFreeNothingIsStopped) {
  expect_in_child([] {
    configure();
    Raw raw;
    HeapBlock block(kBlock);
    for (int number = SIGRTMIN; number <= SIGRTMAX; ++number) signal(number, SIG_IGN);
    EXPECT_EQ(lend_once(raw).outcome, Outcome::kNotStopped);
    EXPECT_FALSE(active());
  });
}

}  // namespace
}  // namespace oomguard::spill

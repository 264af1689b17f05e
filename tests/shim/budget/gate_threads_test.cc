// Threads that ask at once never get more than there is, and leave nothing behind.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "collector/probe/syscall.h"
#include "shim/budget/gate.h"
#include "shim/budget/group_table.h"
#include "tests/shim/budget/harness.h"

namespace oomguard::budget {
namespace {

using test::budget_of;
using test::Folder;
using test::guard;
using test::expect_in_child;
using test::interpreter_caller;
using test::Signpost;
using test::start_child;
using test::wait_for;

constexpr size_t kThreads = 4;
constexpr Bytes kRoom = 256 * kMiB;
constexpr Bytes kReserve = 16 * kMiB;
// Untouched blocks stop to count when they are 100 ms old (nobody fills them); a thread that the
// scheduler kept waiting that long is left out of the sum.
constexpr int64_t kCountedNs = 80'000'000;

// What each thread holds, published between its grant and its free. `version` is odd while it
// changes, so that a sum can tell whether it saw one moment.
struct alignas(64) Held {
  std::atomic<uint64_t> version{0};
  std::atomic<Bytes> size{0};
  std::atomic<int64_t> since_ns{0};

  void set(Bytes bytes, int64_t now_ns) {
    version.fetch_add(1);
    size = bytes;
    since_ns = now_ns;
    version.fetch_add(1);
  }
};
Held g_held[kThreads];

// The sum at one moment, or -1 where no such moment was caught.
Bytes held_now(int64_t now_ns) {
  uint64_t versions[kThreads];
  Bytes sum = 0;
  for (size_t i = 0; i < kThreads; ++i) versions[i] = g_held[i].version;
  for (const Held& held : g_held) {
    if (now_ns - held.since_ns < kCountedNs) sum += held.size;
  }
  for (size_t i = 0; i < kThreads; ++i) {
    if (versions[i] % 2 != 0 || versions[i] != g_held[i].version) return -1;
  }
  return sum;
}

std::atomic<Bytes> g_most{0};
std::atomic<int> g_granted{0};
std::atomic<int> g_refused{0};

void note_most() {
  const Bytes sum = held_now(sys::monotonic_ns());
  Bytes most = g_most;
  while (sum > most && !g_most.compare_exchange_weak(most, sum)) {
  }
}

// Asks for blocks of 8 to 128 MiB, holds each for a moment. The addresses are reserved, not filled:
// what is granted is what counts.
void ask_and_hold(size_t index, uintptr_t region, int64_t until_ns) {
  unsigned seed = static_cast<unsigned>(index) + 1;
  while (sys::monotonic_ns() < until_ns) {
    const Bytes size = (8 + rand_r(&seed) % 121) * kMiB;
    bool granted;
    {
      Admission admission(record::RequestKind::kMalloc, static_cast<size_t>(size),
                          interpreter_caller());
      granted = admission.granted();
      if (granted) {
        g_held[index].set(size, sys::monotonic_ns());
        note_most();
        admission.block(reinterpret_cast<void*>(region), static_cast<size_t>(size), false);
      }
    }
    ++(granted ? g_granted : g_refused);
    if (!granted) continue;
    for (int i = rand_r(&seed) % 400; i > 0; --i) static_cast<void>(g_held[index].version.load());
    note_most();
    g_held[index].set(0, 0);
    ledger.remove(region, nullptr);
  }
}

void run_threads() {
  constexpr size_t kRegion = 256 * kMiB;
  void* regions = mmap(nullptr, kThreads * kRegion, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ASSERT_NE(regions, MAP_FAILED);
  const int64_t until = sys::monotonic_ns() + 3'000'000'000;
  std::vector<std::thread> threads;
  for (size_t i = 0; i < kThreads; ++i) {
    const uintptr_t region = reinterpret_cast<uintptr_t>(regions) + i * kRegion;
    threads.emplace_back(ask_and_hold, i, region, until);
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(GateThreadsTest, ConcurrentGrantsNeverExceedTheRoom) {
  expect_in_child([] {
    guard(budget_of(kRoom, kReserve));
    run_threads();
    EXPECT_GT(g_granted, 100);
    EXPECT_GT(g_refused, 0);
    // In grace large requests may dip to half of the reserve.
    EXPECT_LE(g_most, kRoom - kReserve / 2);
  });
}

TEST(GateThreadsTest, WhatAnotherThreadWentOnWithoutFillingIsNotHeldAgainstARequest) {
  probe::Residency pages;
  if (!pages.open()) GTEST_SKIP() << "/proc/self/pagemap does not tell on this kernel";
  expect_in_child([] {
    guard(budget_of(kRoom, kReserve));
    const test::Mapped memory(static_cast<size_t>(kRoom / 2));
    std::thread([&] {
      {
        Admission admission(record::RequestKind::kMmap, memory.size(), interpreter_caller());
        admission.block(reinterpret_cast<void*>(memory.address()), memory.size(), false);
      }
      usleep(2 * Ledger::kPassedOverNs / 1000);
      const Admission next(record::RequestKind::kMalloc, 2 * kMiB, interpreter_caller());
    }).join();
    const Admission other(record::RequestKind::kMalloc, kRoom / 2, interpreter_caller());
    EXPECT_TRUE(other.granted());
  });
}

TEST(GateThreadsTest, NeighboursSeeNothingOfRequestsThatAreOver) {
  expect_in_child([] {
    const Folder folder;
    ASSERT_TRUE(group_table.open(folder.path().c_str(), 1));
    guard(budget_of(kRoom, kReserve));
    run_threads();
    EXPECT_EQ(group_table.own()->pending, 0);
  });
}

TEST(GateThreadsTest, ARefusedRequestIsNotInFlightForTheNeighbours) {
  expect_in_child([] {
    const Folder folder;
    ASSERT_TRUE(group_table.open(folder.path().c_str(), 1));
    guard(budget_of(kRoom, kReserve));
    {
      const Admission admission(record::RequestKind::kMalloc, 4096 * kMiB,
                                interpreter_caller());
      ASSERT_FALSE(admission.granted());
      EXPECT_EQ(group_table.own()->pending, 0) << "once refused it stands in nobody's way";
    }
    EXPECT_EQ(group_table.own()->in_flight, 0);
    EXPECT_EQ(group_table.own()->pending, 0);
  });
}

TEST(GateThreadsTest, AGrantedBlockIsInFlightForTheNeighboursUntilTheNextSample) {
  expect_in_child([] {
    const Folder folder;
    ASSERT_TRUE(group_table.open(folder.path().c_str(), 1));
    guard(budget_of(kRoom, kReserve));
    {
      Admission admission(record::RequestKind::kMalloc, 200 * kMiB, interpreter_caller());
      ASSERT_TRUE(admission.granted());
      EXPECT_EQ(group_table.own()->pending, 200 * kMiB);
      admission.block(&admission, 200 * kMiB, true);
    }
    EXPECT_EQ(group_table.own()->in_flight, 200 * kMiB);
    EXPECT_EQ(group_table.own()->pending, 0);
  });
}

TEST(GateThreadsTest, WhatANeighbourHasInFlightCountsUntilItIsGone) {
  expect_in_child([] {
    const Folder folder;
    const Signpost published;
    const pid_t neighbour = start_child([&] {
      GroupTable table;
      ASSERT_TRUE(table.open(folder.path().c_str(), 1));
      table.own()->in_flight = 200 * kMiB;
      published.set();
      for (;;) {
        table.own()->heartbeat_ns = sys::monotonic_ns();
        usleep(1000);
      }
    });
    published.wait();
    ASSERT_TRUE(group_table.open(folder.path().c_str(), 1));
    guard(budget_of(kRoom, kReserve));
    const auto ask = [](Bytes size) {
      const Admission admission(record::RequestKind::kMalloc, static_cast<size_t>(size),
                                interpreter_caller());
      return admission.granted();
    };
    EXPECT_FALSE(ask(150 * kMiB));
    kill(neighbour, SIGKILL);
    wait_for(neighbour);
    EXPECT_TRUE(ask(150 * kMiB));
  });
}

}  // namespace
}  // namespace oomguard::budget

// Lent pages that come back in steps, as the watchdog lets them where there is room again.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "collector/probe/process.h"
#include "collector/probe/readable.h"
#include "shim/spill/drop.h"
#include "tests/shim/spill/harness.h"

namespace oomguard::spill {
namespace {

constexpr size_t kBlock = 64 * 1024 * 1024;

class Room : public testing::Test {
 protected:
  void SetUp() override { OOMGUARD_SKIP_UNDER_SANITIZER(); }
};

size_t mappings_of(const HeapBlock& block) {
  std::ifstream maps("/proc/self/maps");
  size_t count = 0;
  for (std::string line; std::getline(maps, line);) {
    unsigned long start = 0;
    unsigned long end = 0;
    if (sscanf(line.c_str(), "%lx-%lx", &start, &end) != 2) continue;
    count += start < block.address() + block.size() && end > block.address();
  }
  return count;
}

char* page_at(const HeapBlock& block, size_t at) {
  return reinterpret_cast<char*>((block.address() + at + 4095) & ~uintptr_t{4095});
}

TEST_F(Room, WhatWasNeverTouchedComesBackAtOnceAndTheFileIsClosed) {
  expect_in_child([] {
    configure();
    Raw raw;
    HeapBlock block(kBlock);
    fill(block.data(), 0, kBlock / 2, 1);
    const size_t before = mappings_of(block);
    ASSERT_EQ(lend(raw).outcome, Outcome::kLent);
    EXPECT_GT(mappings_of(block), before);
    const Returned back = test::give_back(raw, 0);
    EXPECT_TRUE(back.stopped && !back.cut);
    EXPECT_GT(back.emptied, static_cast<Bytes>(kBlock / 2) - 4 * kMiB);
    EXPECT_EQ(back.copied, 0);
    EXPECT_FALSE(active());
    EXPECT_EQ(test::lent_mappings(), 0u);
    EXPECT_EQ(mappings_of(block), before) << "joined by the kernel";
    EXPECT_EQ(wrong(block.data(), 0, kBlock / 2, 1), 0u);
    EXPECT_EQ(not_zero(block.data(), kBlock / 2, kBlock), 0u);
    fill(block.data(), 0, kBlock, 2);
    EXPECT_EQ(wrong(block.data(), 0, kBlock, 2), 0u);
    EXPECT_EQ(in_file(), 0);
  });
}

TEST_F(Room, WhatWasFilledComesBackALittleAtATime) {
  expect_in_child([] {
    configure();
    Raw raw;
    HeapBlock block(kBlock);
    ASSERT_EQ(lend(raw).outcome, Outcome::kLent);
    fill(block.data(), 10 * kMiB, 31 * kMiB, 1);
    tend(raw);
    Bytes before = in_file();
    EXPECT_GE(before, 21 * kMiB);
    size_t steps = 0;
    int64_t longest_ns = 0;
    for (; active() && steps < 100; ++steps) {
      const Returned back = test::give_back(raw, 4 * kMiB);
      EXPECT_LE(back.copied, 4 * kMiB);
      longest_ns = std::max(longest_ns, back.stopped_ns);
      EXPECT_LE(in_file(), before + 64 * 1024) << "its space came back, but for its books";
      before = in_file();
      EXPECT_EQ(wrong(block.data(), 10 * kMiB, 31 * kMiB, 1), 0u);
    }
    printf("stopped for %.1f ms\n", static_cast<double>(longest_ns) / 1e6);
    EXPECT_GE(steps, 5u);
    EXPECT_LT(steps, 100u);
    EXPECT_EQ(test::lent_mappings(), 0u);
    EXPECT_EQ(in_file(), 0);
    EXPECT_EQ(not_zero(block.data(), 31 * kMiB, kBlock), 0u);
    EXPECT_EQ(not_zero(block.data(), 0, 10 * kMiB), 0u);
    EXPECT_EQ(lend(raw).outcome, Outcome::kLent) << "it may be lent again";
    EXPECT_TRUE(is_lent(block.address()));
    fill(block.data(), 0, kBlock, 3);
    while (active()) test::give_back(raw, 16 * kMiB);
    EXPECT_EQ(wrong(block.data(), 0, kBlock, 3), 0u);
  });
}

TEST_F(Room, ScatteredPagesComeBackWithoutTheHolesBetweenThem) {
  expect_in_child([] {
    configure();
    Raw raw;
    HeapBlock block(kBlock);
    ASSERT_EQ(lend(raw).outcome, Outcome::kLent);
    for (size_t at = kMiB; at < kBlock - kMiB; at += 32 * 4096) fill(block.data(), at, at + 64, at);
    const size_t before = mappings_of(block);
    const Bytes memory = probe::own_memory();
    while (active()) test::give_back(raw, 16 * kMiB);
    EXPECT_LE(mappings_of(block), before + kBlock / (2 * kMiB) + 2) << "one for each two MiB";
    EXPECT_LT(probe::own_memory() - memory, 8 * kMiB);
    size_t errors = 0;
    for (size_t at = kMiB; at < kBlock - kMiB; at += 32 * 4096) {
      errors += wrong(block.data(), at, at + 64, at) + not_zero(block.data(), at + 64, at + 32 * 4096);
    }
    EXPECT_EQ(errors, 0u);
  });
}

TEST_F(Room, WhatTheProgramProtectedStaysProtected) {
  expect_in_child([] {
    configure();
    Raw raw;
    HeapBlock block(kBlock);
    ASSERT_EQ(lend(raw).outcome, Outcome::kLent);
    fill(block.data(), 8 * kMiB, 16 * kMiB, 1);
    char* filled = page_at(block, 10 * kMiB);
    char* empty = page_at(block, 20 * kMiB);
    EXPECT_EQ(mprotect(filled, 4 * kMiB, PROT_READ), 0);
    EXPECT_EQ(mprotect(empty, 4 * kMiB, PROT_NONE), 0);
    while (active()) test::give_back(raw, 16 * kMiB);
    EXPECT_FALSE(sys::is_readable(empty, 4 * kMiB));
    EXPECT_EQ(wrong(block.data(), 8 * kMiB, 16 * kMiB, 1), 0u);
    const int zero = open("/dev/zero", O_RDONLY);
    EXPECT_EQ(read(zero, filled, 4096), -1) << "read-only";
    close(zero);
    mprotect(filled, 4 * kMiB, PROT_READ | PROT_WRITE);
    mprotect(empty, 4 * kMiB, PROT_READ | PROT_WRITE);
    EXPECT_EQ(not_zero(block.data(), 16 * kMiB, kBlock), 0u);
  });
}

// A thread that blocks all signals and waits in read(2) for what goes into the block.
TEST_F(Room, WhatACallInProgressWritesToStaysLentUntilItIsOver) {
  expect_in_child([] {
    configure();
    Raw raw;
    HeapBlock block(kBlock);
    ASSERT_EQ(lend(raw).outcome, Outcome::kLent);
    int pipe_ends[2];
    ASSERT_EQ(pipe(pipe_ends), 0);
    std::atomic<bool> begun{false};
    char* target = page_at(block, 8 * kMiB);
    ssize_t got = 0;
    std::thread reader([&] {
      sigset_t all;
      sigfillset(&all);
      pthread_sigmask(SIG_SETMASK, &all, nullptr);
      begun = true;
      got = read(pipe_ends[0], target, 4096);
    });
    while (!begun) usleep(100);
    usleep(50'000);
    Returned back = test::give_back(raw, 16 * kMiB);
    EXPECT_TRUE(back.stopped && !back.moved()) << back.emptied;
    EXPECT_TRUE(is_lent(block.address()));
    char text[4096];
    fill(text, 0, sizeof text, 7);
    EXPECT_EQ(write(pipe_ends[1], text, sizeof text), 4096);
    reader.join();
    EXPECT_EQ(got, 4096);
    while (active()) test::give_back(raw, 16 * kMiB);
    EXPECT_EQ(wrong(target, 0, 4096, 7), 0u);
  });
}

// Writers that check what they wrote, one that drops, one that frees: while pages go to the file and come
// back.
TEST_F(Room, ThreadsThatWriteDropAndFreeMeanwhileLoseNothing) {
  expect_in_child([] {
    configure(8 * kGiB, 4 * kGiB);
    Raw raw;
    constexpr size_t kWriters = 3;
    constexpr size_t kEach = 16 * kMiB;
    std::vector<std::unique_ptr<HeapBlock>> blocks;
    for (size_t i = 0; i <= kWriters; ++i) blocks.push_back(std::make_unique<HeapBlock>(kEach));
    std::atomic<bool> over{false};
    std::atomic<size_t> errors{0};
    std::atomic<size_t> rounds{0};
    std::vector<std::thread> threads;
    for (size_t i = 0; i < kWriters; ++i) {
      threads.emplace_back([&, i] {
        char* data = blocks[i]->data();
        size_t done = 0;
        for (uint64_t round = 1; !over; ++round) {
          for (size_t at = 0; at < kEach && !over; at += 64 * 1024) {
            if (at >= done) errors.fetch_add(round == 1 ? not_zero(data, at, at + 64) : 0);
            fill(data, at, at + 64 * 1024, round + i);
            done = at + 64 * 1024;
            if (at % kMiB == 0) errors.fetch_add(wrong(data, 0, done, round + i));
          }
          if (!over) errors.fetch_add(wrong(data, 0, kEach, round + i));
          rounds.fetch_add(1);
        }
      });
    }
    threads.emplace_back([&] {
      const HeapBlock& block = *blocks[kWriters];
      for (uint64_t round = 1; !over; ++round) {
        char* from = page_at(block, (round * 7 % 12) * kMiB);
        fill(from, 0, kMiB, round);
        errors.fetch_add(wrong(from, 0, kMiB, round));
        drop_unmoved([&] {
          const int status = madvise(from, kMiB, MADV_DONTNEED);
          if (active()) drop_range(reinterpret_cast<uintptr_t>(from), kMiB);
          return status;
        });
        errors.fetch_add(not_zero(from, 0, kMiB));
      }
    });
    threads.emplace_back([&] {
      while (!over) {
        HeapBlock block(4 * kMiB);
        fill(block.data(), 2 * kMiB, 3 * kMiB, 5);
        usleep(2000);
        errors.fetch_add(wrong(block.data(), 2 * kMiB, 3 * kMiB, 5) +
                         not_zero(block.data(), 3 * kMiB, 4 * kMiB));
      }
    });
    Bytes lent = 0;
    Bytes copied = 0;
    for (int round = 0; round < 40; ++round) {
      lent += test::lend_once(raw, 4 * kMiB).lent;
      usleep(5000);
      for (int step = 0; step < 3; ++step) copied += test::give_back(raw, 4 * kMiB).copied;
    }
    over = true;
    for (auto& thread : threads) thread.join();
    EXPECT_GT(lent, 0);
    EXPECT_EQ(errors.load(), 0u);
    printf("%.0f MiB lent, %.0f MiB copied back\n", static_cast<double>(lent) / kMiB,
           static_cast<double>(copied) / kMiB);
  });
}

TEST_F(Room, AnotherRawThreadLeavesWhatItCannotRead) {
  expect_in_child([] {
    configure();
    HeapBlock block(kBlock);
    {
      Raw raw;
      ASSERT_EQ(lend(raw).outcome, Outcome::kLent);
      fill(block.data(), 0, 16 * kMiB, 1);
    }
    Raw raw;
    tend(raw);
    Returned back;
    raw.run([&] { back = give_back({16 * kMiB, 200'000'000, 50'000'000}); });
    EXPECT_FALSE(back.moved());
    EXPECT_TRUE(is_lent(block.address()));
    EXPECT_EQ(wrong(block.data(), 0, 16 * kMiB, 1), 0u);
  });
}

}  // namespace
}  // namespace oomguard::spill

#include "shim/spill/lender.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "tests/shim/spill/harness.h"

namespace oomguard::spill {
namespace {

constexpr size_t kBlock = 64 * 1024 * 1024;
constexpr size_t kHalf = kBlock / 2;

class Lender : public testing::Test {
 protected:
  void SetUp() override { OOMGUARD_SKIP_UNDER_SANITIZER(); }
};

TEST_F(Lender, LendsTheUntouchedPartAndKeepsTheRest) {
  expect_in_child([] {
    configure();
    Raw raw;
    HeapBlock block(kBlock);
    fill(block.data(), 0, kHalf, 1);
    const Result result = lend(raw);
    ASSERT_EQ(result.outcome, Outcome::kLent) << static_cast<int>(result.outcome);
    EXPECT_TRUE(active());
    EXPECT_TRUE(is_lent(block.address()));
    EXPECT_GT(result.lent, static_cast<Bytes>(kHalf) - 3 * kMiB);
    EXPECT_LE(result.lent, static_cast<Bytes>(kHalf) + 4096);
    EXPECT_EQ(result.copied, 0);
    EXPECT_EQ(touched(), 0) << "nothing is on disk before somebody writes";
    EXPECT_EQ(wrong(block.data(), 0, kHalf, 1), 0u);
    EXPECT_EQ(not_zero(block.data(), kHalf, kBlock), 0u);
    tend(raw);
    EXPECT_EQ(touched(), 0) << "reading is not filling";
    fill(block.data(), kHalf, kBlock, 2);
    tend(raw);
    EXPECT_GE(touched(), static_cast<Bytes>(kHalf) - 3 * kMiB);
    EXPECT_LE(touched(), static_cast<Bytes>(kHalf) + kMiB);
    EXPECT_EQ(wrong(block.data(), 0, kHalf, 1), 0u);
    EXPECT_EQ(wrong(block.data(), kHalf, kBlock, 2), 0u);
  });
}

TEST_F(Lender, AFullBlockAndASmallOneAreLeftAlone) {
  expect_in_child([] {
    configure();
    Raw raw;
    HeapBlock full(8 * kMiB);
    fill(full.data(), 0, full.size(), 1);
    const Result result = lend(raw);
    EXPECT_EQ(result.outcome, Outcome::kNothing);
    EXPECT_FALSE(active());
    EXPECT_EQ(wrong(full.data(), 0, full.size(), 1), 0u);
  });
}

TEST_F(Lender, EightThreadsThatWriteAllTheTimeLoseNothing) {
  expect_in_child([] {
    configure(8 * kGiB, 4 * kGiB);
    Raw raw;
    constexpr size_t kThreads = 8;
    constexpr size_t kEach = 32 * kMiB;
    std::vector<std::unique_ptr<HeapBlock>> blocks;
    for (size_t i = 0; i < kThreads; ++i) blocks.push_back(std::make_unique<HeapBlock>(kEach));
    std::atomic<size_t> ready{0};
    std::atomic<size_t> errors{0};
    std::vector<std::thread> threads;
    for (size_t i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] {
        char* data = blocks[i]->data();
        for (size_t at = 0; at < kEach; at += 64 * 1024) {
          fill(data, at, at + 64 * 1024, i);
          if (at == kEach / 4) ready.fetch_add(1);
          if (at % (2 * kMiB) == 0) errors.fetch_add(wrong(data, 0, at, i));
        }
      });
    }
    while (ready.load() < kThreads / 2) usleep(100);
    Bytes lent = 0;
    for (int round = 0; round < 6; ++round) lent += lend(raw, 8 * kMiB).lent;
    for (auto& thread : threads) thread.join();
    EXPECT_GT(lent, 0);
    EXPECT_EQ(errors.load(), 0u);
    for (size_t i = 0; i < kThreads; ++i) EXPECT_EQ(wrong(blocks[i]->data(), 0, kEach, i), 0u);
  });
}

TEST_F(Lender, HalfWrittenHugePagesAreLent) {
  expect_in_child([] {
    configure();
    Raw raw;
    HeapBlock block(kBlock);
    const uintptr_t huge = (block.address() + 2 * kMiB - 1) & ~uintptr_t{2 * kMiB - 1};
    if (madvise(reinterpret_cast<void*>(huge), 16 * kMiB, MADV_HUGEPAGE) != 0) {
      GTEST_SKIP() << "no huge pages here";
    }
    auto* data = reinterpret_cast<char*>(huge);
    fill(data, 0, 64 * 1024, 3);  // one page of 4 KiB or a whole huge page, as the kernel likes
    const Result result = lend(raw);
    EXPECT_EQ(result.outcome, Outcome::kLent);
    EXPECT_GT(result.lent, static_cast<Bytes>(kBlock) - 4 * kMiB);
    EXPECT_EQ(wrong(data, 0, 64 * 1024, 3), 0u);
    EXPECT_EQ(not_zero(data, 64 * 1024, 16 * kMiB), 0u);
  });
}

TEST_F(Lender, WhatWasOnlyReadIsLent) {
  expect_in_child([] {
    configure();
    Raw raw;
    HeapBlock block(kBlock);
    ASSERT_EQ(not_zero(block.data(), 4096, kBlock), 0u);
    const Result result = lend(raw);
    EXPECT_GT(result.lent, static_cast<Bytes>(kBlock) - kMiB);
    EXPECT_EQ(touched(), 0);
  });
}

TEST_F(Lender, SixteenGigabytesOfAddressesInManyBlocks) {
  expect_in_child([] {
    configure();
    Raw raw;
    std::vector<std::unique_ptr<HeapBlock>> blocks;
    for (int i = 0; i < 64; ++i) blocks.push_back(std::make_unique<HeapBlock>(256 * kMiB));
    for (auto& block : blocks) fill(block->data(), 0, 8192, 4);
    const Result result = lend(raw);
    EXPECT_EQ(result.outcome, Outcome::kLent);
    EXPECT_GT(result.lent, 15 * kGiB);
    for (auto& block : blocks) EXPECT_EQ(wrong(block->data(), 0, 8192, 4), 0u);
    fill(blocks[63]->data(), 200 * kMiB, 200 * kMiB + 8192, 5);
    EXPECT_EQ(wrong(blocks[63]->data(), 200 * kMiB, 200 * kMiB + 8192, 5), 0u);
    printf("stopped for %.1f ms\n", static_cast<double>(result.stopped_ns) / 1e6);
  });
}

TEST_F(Lender, BlocksOfEveryAlignmentAreLent) {
  expect_in_child([] {
    configure();
    Raw raw;
    for (const size_t alignment : {size_t{64}, size_t{4096}, size_t{2 * kMiB}}) {
      HeapBlock block(kBlock, alignment);
      fill(block.data(), 0, 100'000, alignment);
      const Result result = lend(raw);
      EXPECT_GT(result.lent, static_cast<Bytes>(kBlock) - kMiB) << alignment;
      fill(block.data(), 100'000, kBlock, alignment);
      EXPECT_EQ(wrong(block.data(), 0, kBlock, alignment), 0u) << alignment;
    }
  });
}

TEST_F(Lender, LendsAgainWhatWasGrantedMeanwhile) {
  expect_in_child([] {
    configure();
    Raw raw;
    HeapBlock first(kBlock);
    EXPECT_EQ(lend(raw).outcome, Outcome::kLent);
    EXPECT_EQ(lend(raw).outcome, Outcome::kNothing);
    HeapBlock second(kBlock);
    const Result again = lend(raw);
    EXPECT_EQ(again.outcome, Outcome::kLent);
    EXPECT_GT(again.lent, static_cast<Bytes>(kBlock) - kMiB);
    fill(first.data(), 0, kBlock, 6);
    fill(second.data(), 0, kBlock, 7);
    EXPECT_EQ(wrong(first.data(), 0, kBlock, 6) + wrong(second.data(), 0, kBlock, 7), 0u);
  });
}

TEST_F(Lender, KeepsThreadsStoppedOnRequestWhereNothingWasLent) {
  expect_in_child([] {
    configure();
    Raw raw;
    const HeapBlock block(kBlock);
    std::atomic<uint64_t> steps{0};
    std::atomic<bool> over{false};
    std::thread other([&] {
      while (!over.load()) steps.fetch_add(1);
    });
    while (steps.load() == 0) sched_yield();
    const Result first = lend(raw);
    Result second;
    uint64_t before = 0;
    uint64_t after = 0;
    raw.run([&] {
      do {
        second = spill::lend(0, true);
      } while (second.outcome == Outcome::kNotStopped);
      before = steps.load();
      const timespec pause{0, 20'000'000};
      sys::call(SYS_nanosleep, sys::as_arg(&pause), 0);
      after = steps.load();
      resume_all();
    });
    EXPECT_EQ(first.outcome, Outcome::kLent);
    EXPECT_TRUE(first.all);
    EXPECT_EQ(second.outcome, Outcome::kNothing);
    EXPECT_TRUE(second.held);
    EXPECT_EQ(before, after);
    over.store(true);
    other.join();
  });
}

TEST_F(Lender, FreedBlocksGiveTheirSpaceBack) {
  expect_in_child([] {
    configure();
    Raw raw;
    HeapBlock kept(kBlock);
    HeapBlock gone(kBlock);
    ASSERT_EQ(lend(raw).outcome, Outcome::kLent);
    fill(kept.data(), 0, 4 * kMiB, 8);
    fill(gone.data(), 0, kBlock, 9);
    tend(raw);
    EXPECT_GT(in_file(), static_cast<Bytes>(kBlock));
    gone.release();
    tend(raw);
    EXPECT_LT(in_file(), 8 * kMiB);
    EXPECT_EQ(wrong(kept.data(), 0, 4 * kMiB, 8), 0u);
    kept.release();
    tend(raw);
    EXPECT_FALSE(active());
    EXPECT_EQ(in_file(), 0);
    EXPECT_EQ(test::lent_mappings(), 0u);
  });
}

TEST_F(Lender, InHasteFreedSpaceIsNotGivenBackAndCountsForNothing) {
  expect_in_child([] {
    configure();
    Raw raw;
    HeapBlock gone(kBlock);
    ASSERT_EQ(lend(raw).outcome, Outcome::kLent);
    fill(gone.data(), 0, kBlock, 9);
    tend(raw);
    gone.release();
    raw.run([] { spill::tend(true); });
    EXPECT_TRUE(active()) << "the file is kept";
    EXPECT_EQ(in_file(), 0);
    tend(raw);
    EXPECT_FALSE(active());
  });
}

TEST_F(Lender, InHasteABlockThatWasFreedHalfFilledHidesNothingOfTheOthers) {
  expect_in_child([] {
    configure();
    Raw raw;
    HeapBlock gone(kBlock);
    HeapBlock kept(kBlock);
    ASSERT_EQ(lend(raw).outcome, Outcome::kLent);
    fill(gone.data(), 0, kBlock / 4, 9);
    fill(kept.data(), 0, kBlock / 2, 9);
    gone.release();
    raw.run([] { spill::tend(true); });
    EXPECT_GE(in_file(), static_cast<Bytes>(kBlock / 2 - 64 * 1024));
    EXPECT_LE(in_file(), static_cast<Bytes>(kBlock / 2 + 64 * 1024));
  });
}

TEST_F(Lender, InHasteSpaceIsGivenBackWhereLittleIsLeft) {
  expect_in_child([] {
    configure(kGiB, static_cast<Bytes>(kBlock) + 16 * kMiB);
    Raw raw;
    HeapBlock gone(kBlock);
    ASSERT_EQ(lend(raw).outcome, Outcome::kLent);
    fill(gone.data(), 0, kBlock, 9);
    gone.release();
    raw.run([] { spill::tend(true); });
    EXPECT_FALSE(active());
  });
}

TEST_F(Lender, ARangeThatTheProgramUnmapsIsForgotten) {
  expect_in_child([] {
    configure();
    Raw raw;
    HeapBlock block(kBlock);
    ASSERT_EQ(lend(raw).outcome, Outcome::kLent);
    forget_range(block.address() - 16, kBlock + 8192);
    EXPECT_FALSE(is_lent(block.address()));
    tend(raw);
    EXPECT_FALSE(active());
  });
}

TEST_F(Lender, RandomTouchingIsCopiedRoundByRound) {
  expect_in_child([] {
    configure();
    Raw raw;
    HeapBlock block(kBlock);
    std::vector<bool> there(kBlock / 4096);
    uint64_t random = 1;
    const auto touch = [&](int times) {
      for (int i = 0; i < times; ++i) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        const size_t page = 1 + (random >> 33) % (kBlock / 4096 - 2);
        fill(block.data(), page * 4096, page * 4096 + 4096, page);
        there[page] = true;
      }
    };
    touch(8000);
    EXPECT_GT(lend(raw, 0).scattered, 8 * kMiB);
    for (int round = 0; round < 4; ++round) {
      const Result result = lend(raw, 8 * kMiB);
      EXPECT_EQ(result.outcome, Outcome::kLent);
      EXPECT_GT(result.copied, 4 * kMiB);
      EXPECT_LE(result.copied, 8 * kMiB);
      touch(200);
    }
    tend(raw);
    EXPECT_LT(touched(), 4 * kMiB) << "what was copied is not what was filled";
    EXPECT_GT(in_file(), 16 * kMiB);
    size_t errors = 0;
    for (size_t page = 1; page < there.size() - 1; ++page) {
      errors += there[page] ? wrong(block.data(), page * 4096, page * 4096 + 4096, page)
                            : not_zero(block.data(), page * 4096, page * 4096 + 4096);
    }
    EXPECT_EQ(errors, 0u);
  });
}

TEST_F(Lender, WhatAChildHoldsAsWellIsNotCopied) {
  expect_in_child([] {
    configure();
    Raw raw;
    HeapBlock block(kBlock);
    for (size_t at = 0; at < kBlock; at += 64 * 1024) fill(block.data(), at, at + 4096, 5);
    test::Signpost end;
    const pid_t child = test::start_child([&] { end.wait(); });
    const Result shared = lend(raw, kGiB);
    EXPECT_EQ(shared.copied, 0);
    EXPECT_GT(shared.scattered, static_cast<Bytes>(kBlock / 2));
    end.set();
    ASSERT_EQ(test::wait_for(child), 0);
    EXPECT_GT(lend(raw, kGiB).copied, 0);
  });
}

TEST_F(Lender, TheCapIsKept) {
  expect_in_child([] {
    configure(kGiB, 8 * kMiB);
    Raw raw;
    HeapBlock block(kBlock);
    ASSERT_EQ(lend(raw).outcome, Outcome::kLent);
    EXPECT_EQ(left(), 8 * kMiB);
    fill(block.data(), 4 * kMiB, 10 * kMiB, 1);
    tend(raw);
    EXPECT_LE(left(), 2 * kMiB);
    fill(block.data(), 10 * kMiB, 14 * kMiB, 1);
    tend(raw);
    EXPECT_EQ(left(), 0);
    HeapBlock other(kBlock);
    EXPECT_EQ(lend(raw).outcome, Outcome::kAtCap);
  });
}

TEST_F(Lender, WithALimitOfZeroNothingIsEverLent) {
  expect_in_child([] {
    configure(kGiB, 0);
    Raw raw;
    HeapBlock block(kBlock);
    EXPECT_EQ(lend(raw).outcome, Outcome::kNoDisk);
    raw.run([] { EXPECT_STREQ(obstacle(), "--spill-limit is 0"); });
    EXPECT_EQ(test::lent_mappings(), 0u);
  });
}

TEST_F(Lender, LockedMemoryIsNotLent) {
  expect_in_child([] {
    configure();
    Raw raw;
    HeapBlock block(kBlock);
    if (mlock(block.data(), 4096) != 0) GTEST_SKIP() << "memory cannot be locked here";
    EXPECT_EQ(lend(raw).outcome, Outcome::kNothing);
    munlock(block.data(), 4096);
    EXPECT_EQ(lend(raw).outcome, Outcome::kLent);
  });
}

TEST_F(Lender, BlocksOfAHeapAreLeftAlone) {
  expect_in_child([] {
    configure();
    Raw raw;
    mallopt(M_MMAP_THRESHOLD, 32 * kMiB);
    HeapBlock block(8 * kMiB);
    EXPECT_EQ(lend(raw).outcome, Outcome::kNothing);
  });
}

TEST_F(Lender, AnotherRawThreadKeepsWhatWasLent) {
  expect_in_child([] {
    configure();
    HeapBlock block(kBlock);
    HeapBlock later(kBlock);
    {
      Raw raw;
      ASSERT_EQ(lend(raw).outcome, Outcome::kLent);
      fill(block.data(), 0, 16 * kMiB, 1);
      tend(raw);
    }
    Raw raw;
    tend(raw);
    EXPECT_TRUE(is_lent(block.address()));
    EXPECT_GE(in_file(), 15 * kMiB);
    fill(block.data(), 16 * kMiB, kBlock, 1);
    HeapBlock fresh(kBlock);
    EXPECT_EQ(lend(raw).outcome, Outcome::kLent);
    fill(fresh.data(), 0, kBlock, 2);
    EXPECT_EQ(wrong(block.data(), 0, kBlock, 1) + wrong(fresh.data(), 0, kBlock, 2), 0u);
    block.release();
    later.release();
    fresh.release();
    tend(raw);
    EXPECT_FALSE(active());
  });
}

}  // namespace
}  // namespace oomguard::spill

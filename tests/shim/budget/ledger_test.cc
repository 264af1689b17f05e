#include "shim/budget/ledger.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "shim/budget/block_filter.h"
#include "tests/shim/budget/harness.h"

namespace oomguard::budget {
namespace {

using test::expect_in_child;

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kNow = 1'000'000 * kMs;
constexpr uintptr_t kBase = 0x7f1000000000;
constexpr int32_t kOwn = 7;
constexpr int32_t kOther = 8;

// Numbers only: nothing of these blocks is ever looked at.
Block block_at(uintptr_t address, int64_t size, int32_t thread_id = kOwn, bool from_heap = true) {
  return {address, size, -1, kNow, 0x1234, thread_id, from_heap};
}

class LedgerTest : public testing::Test {
 protected:
  std::unique_ptr<Ledger> ledger_ = std::make_unique<Ledger>();
  probe::Residency blind_;  // never opened: answers "unknown"
  Block found_{};
};

TEST_F(LedgerTest, FindsWhatWasAddedWithAllItsFields) {
  ledger_->add({kBase + 16, 5 * kMiB, -1, kNow, 0xabcd, kOwn, true});
  ASSERT_TRUE(ledger_->find(kBase + 16, &found_));
  EXPECT_EQ(found_.address, kBase + 16);
  EXPECT_EQ(found_.size_bytes, 5 * kMiB);
  EXPECT_EQ(found_.touched_bytes, -1);
  EXPECT_EQ(found_.born_ns, kNow);
  EXPECT_EQ(found_.caller, 0xabcdu);
  EXPECT_EQ(found_.thread_id, kOwn);
  EXPECT_TRUE(found_.from_heap);
  EXPECT_EQ(ledger_->total_bytes(), 5 * kMiB);
  EXPECT_EQ(ledger_->count(), 1u);
  EXPECT_FALSE(ledger_->find(kBase, &found_)) << "only the start of a block names it";
}

TEST_F(LedgerTest, RemoveReturnsTheBlockOnceAndTellsTheFilter) {
  const uintptr_t address = 0x7f2000000010;
  ledger_->add(block_at(address, 2 * kMiB));
  EXPECT_TRUE(block_filter.may_contain(reinterpret_cast<void*>(address)));
  EXPECT_TRUE(ledger_->remove(address, &found_));
  EXPECT_EQ(found_.size_bytes, 2 * kMiB);
  EXPECT_EQ(found_.address, address);
  EXPECT_FALSE(block_filter.may_contain(reinterpret_cast<void*>(address)));
  EXPECT_FALSE(ledger_->remove(address, &found_));
  EXPECT_FALSE(ledger_->remove(kBase, nullptr));
  EXPECT_EQ(ledger_->total_bytes(), 0);
  EXPECT_EQ(ledger_->count(), 0u);
}

TEST_F(LedgerTest, AnAddressMayComeBackWithAnotherSize) {
  for (int64_t i = 1; i <= 1000; ++i) {
    ledger_->add(block_at(kBase, i * kMiB));
    ASSERT_TRUE(ledger_->find(kBase, &found_));
    EXPECT_EQ(found_.size_bytes, i * kMiB);
    ASSERT_TRUE(ledger_->remove(kBase, nullptr));
  }
  EXPECT_EQ(ledger_->total_bytes(), 0);
}

TEST_F(LedgerTest, AFullBucketDropsTheBlockAndCountsIt) {
  constexpr uintptr_t kMany = 40'000;  // more than the table has places
  for (uintptr_t i = 0; i < kMany; ++i) ledger_->add(block_at(kBase + i * 2 * kMiB, 2 * kMiB));
  EXPECT_EQ(ledger_->count() + ledger_->dropped(), kMany);
  EXPECT_GT(ledger_->dropped(), 0u);
  EXPECT_GT(ledger_->count(), 14'000u) << "a full table is well used";
  EXPECT_EQ(ledger_->total_bytes(), int64_t{ledger_->count()} * 2 * kMiB);
  uint32_t removed = 0;
  for (uintptr_t i = 0; i < kMany; ++i) removed += ledger_->remove(kBase + i * 2 * kMiB, nullptr);
  EXPECT_EQ(removed + ledger_->dropped(), kMany);
  EXPECT_EQ(ledger_->count(), 0u);
  EXPECT_EQ(ledger_->total_bytes(), 0);
}

TEST_F(LedgerTest, UpToAFewThousandBlocksNothingIsDropped) {
  for (uintptr_t i = 0; i < 6000; ++i) ledger_->add(block_at(kBase + i * 0x2101000 + 16, 2 * kMiB));
  EXPECT_EQ(ledger_->dropped(), 0u);
}

struct UnmapCase {
  const char* name;
  int64_t from_mib, to_mib;        // unmapped, of a block of [0, 16) MiB
  int64_t rest_from_mib, rest_mib;  // what stays; 0 MiB: nothing
};
class LedgerUnmap : public testing::TestWithParam<UnmapCase> {};

TEST_P(LedgerUnmap, LeavesWhatSticksOut) {
  const auto ledger = std::make_unique<Ledger>();
  const UnmapCase& unmapped = GetParam();
  ledger->add(block_at(kBase, 16 * kMiB, kOwn, false));
  ledger->unmap(kBase + static_cast<uintptr_t>(unmapped.from_mib * kMiB),
                static_cast<size_t>((unmapped.to_mib - unmapped.from_mib) * kMiB));
  EXPECT_EQ(ledger->total_bytes(), unmapped.rest_mib * kMiB);
  EXPECT_EQ(ledger->count(), unmapped.rest_mib > 0 ? 1u : 0u);
  Block rest{};
  if (unmapped.rest_mib > 0) {
    const auto at = kBase + static_cast<uintptr_t>(unmapped.rest_from_mib * kMiB);
    ASSERT_TRUE(ledger->find(at, &rest));
    EXPECT_EQ(rest.size_bytes, unmapped.rest_mib * kMiB);
    EXPECT_EQ(rest.caller, 0x1234u) << "the rest belongs to whoever asked for the whole";
    EXPECT_EQ(rest.born_ns, kNow);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Ledger, LedgerUnmap,
    testing::Values(UnmapCase{"Whole", 0, 16, 0, 0}, UnmapCase{"MoreThanAll", -8, 32, 0, 0},
                    UnmapCase{"Head", 0, 4, 4, 12}, UnmapCase{"HeadAndBefore", -4, 4, 4, 12},
                    UnmapCase{"Tail", 12, 16, 0, 12}, UnmapCase{"TailAndBehind", 12, 20, 0, 12},
                    // A hole in the middle: the head stays, the tail is forgotten.
                    UnmapCase{"Middle", 4, 8, 0, 4}, UnmapCase{"AllButTheLastMiB", 0, 15, 0, 0},
                    UnmapCase{"AllButTheFirstMiB", 1, 16, 0, 0},
                    UnmapCase{"JustBefore", -4, 0, 0, 16}, UnmapCase{"JustBehind", 16, 20, 0, 16}),
    [](const auto& param) { return param.param.name; });

TEST_F(LedgerTest, UnmapTakesEveryMappingInTheRangeAndNoHeapBlock) {
  for (uintptr_t i = 0; i < 8; ++i) {
    ledger_->add(block_at(kBase + i * 4 * kMiB, 4 * kMiB, kOwn, i == 3));
  }
  ledger_->unmap(kBase + 2 * kMiB, 20 * kMiB);  // from the middle of 0 to the middle of 5
  EXPECT_TRUE(ledger_->find(kBase, &found_));
  EXPECT_EQ(found_.size_bytes, 2 * kMiB);
  for (const uintptr_t gone : {1u, 2u, 4u, 5u}) {
    EXPECT_FALSE(ledger_->find(kBase + gone * 4 * kMiB, &found_)) << gone;
  }
  EXPECT_TRUE(ledger_->find(kBase + 3 * 4 * kMiB, &found_)) << "the heap's blocks end by free";
  EXPECT_TRUE(ledger_->find(kBase + 22 * kMiB, &found_));
  EXPECT_EQ(found_.size_bytes, 2 * kMiB);
  EXPECT_EQ(ledger_->count(), 5u);
}

TEST_F(LedgerTest, UnmapOfNothingAndOfAWrappingRangeChangesNothing) {
  ledger_->add(block_at(kBase, 4 * kMiB, kOwn, false));
  ledger_->unmap(kBase, 0);
  ledger_->unmap(kBase, SIZE_MAX);
  EXPECT_EQ(ledger_->count(), 1u);
}

TEST_F(LedgerTest, InFlightCountsOtherThreadsOnly) {
  ledger_->add(block_at(kBase, 8 * kMiB, kOwn));
  ledger_->add(block_at(kBase + kMiB * 64, 4 * kMiB, kOther));
  EXPECT_EQ(ledger_->in_flight(kOwn, kNow + kMs, blind_), 4 * kMiB);
  EXPECT_EQ(ledger_->in_flight(kOther, kNow + kMs, blind_), 8 * kMiB);
  EXPECT_EQ(ledger_->in_flight(0, kNow + kMs, blind_), 12 * kMiB) << "0 is nobody's number";
  EXPECT_EQ(ledger_->in_flight_bound(kOwn, kNow + kMs), 4 * kMiB);
}

TEST_F(LedgerTest, AYoungBlockThatCannotBeLookedIntoCountsInFullUntilItIsOld) {
  ledger_->add(block_at(kBase, 8 * kMiB, kOther));
  EXPECT_EQ(ledger_->in_flight(kOwn, kNow + 99 * kMs, blind_), 8 * kMiB);
  EXPECT_EQ(ledger_->in_flight(kOwn, kNow + 101 * kMs, blind_), 0);
  EXPECT_EQ(ledger_->in_flight_bound(kOwn, kNow + 101 * kMs), 0);
}

TEST_F(LedgerTest, OnABusyMachineABlockIsYoungForLonger) {
  ledger_->set_slip(20 * kMs);
  ledger_->add(block_at(kBase, 8 * kMiB, kOther));
  EXPECT_EQ(ledger_->in_flight(kOwn, kNow + 179 * kMs, blind_), 8 * kMiB);
  EXPECT_EQ(ledger_->in_flight(kOwn, kNow + 181 * kMs, blind_), 0);
}

TEST_F(LedgerTest, TheBoundIsNeverLessThanWhatIsInFlight) {
  for (uintptr_t i = 0; i < 100; ++i) {
    Block block = block_at(kBase + i * 64 * kMiB, 2 * kMiB, static_cast<int32_t>(1 + i % 5));
    block.born_ns = kNow - static_cast<int64_t>(i) * 3 * kMs;
    ledger_->add(block);
  }
  for (int64_t later = 0; later < 300; later += 25) {
    for (int32_t self = 0; self < 6; ++self) {
      const int64_t now = kNow + later * kMs;
      EXPECT_LE(ledger_->in_flight(self, now, blind_), ledger_->in_flight_bound(self, now));
    }
  }
}

TEST_F(LedgerTest, WhatIsUntouchedMayBeAskedOfNewBlocksAlone) {
  ledger_->add(block_at(kBase, 4 * kMiB));
  Block later = block_at(kBase + 8 * kMiB, 2 * kMiB);
  ++later.born_ns;
  ledger_->add(later);
  EXPECT_EQ(ledger_->untouched_of_heap(), 6 * kMiB);
  EXPECT_EQ(ledger_->untouched_of_heap(kNow), 2 * kMiB);
  EXPECT_EQ(ledger_->untouched_of_heap(kNow + 1), 0);
}

TEST_F(LedgerTest, ARemovedBlockIsNoLongerInFlight) {
  ledger_->add(block_at(kBase, 8 * kMiB, kOther));
  ledger_->remove(kBase, nullptr);
  EXPECT_EQ(ledger_->in_flight(kOwn, kNow, blind_), 0);
  EXPECT_EQ(ledger_->in_flight_bound(kOwn, kNow), 0);
}

TEST_F(LedgerTest, TheMostActiveThreadHasTheLargestYoungBlock) {
  EXPECT_EQ(ledger_->most_active_thread(kNow), 0);
  ledger_->add(block_at(kBase, 8 * kMiB, kOwn));
  Block old = block_at(kBase + 64 * kMiB, 100 * kMiB, 99);
  old.born_ns = kNow - 1000 * kMs;
  ledger_->add(old);
  ledger_->add(block_at(kBase + 256 * kMiB, 9 * kMiB, kOther));
  EXPECT_EQ(ledger_->most_active_thread(kNow + kMs), kOther);
  EXPECT_EQ(ledger_->most_active_thread(kNow + 500 * kMs), 0);
}

TEST_F(LedgerTest, LargestComesSortedAndAsManyAsFit) {
  Block blocks[10];
  EXPECT_EQ(ledger_->largest(blocks, 10), 0u);
  for (const int64_t mib : {3, 11, 2, 7, 5, 13, 2}) {
    ledger_->add(block_at(kBase + static_cast<uintptr_t>(mib) * 64 * kMiB +
                              ledger_->count() * 4096, mib * kMiB));
  }
  ASSERT_EQ(ledger_->largest(blocks, 3), 3u);
  EXPECT_EQ(blocks[0].size_bytes, 13 * kMiB);
  EXPECT_EQ(blocks[1].size_bytes, 11 * kMiB);
  EXPECT_EQ(blocks[2].size_bytes, 7 * kMiB);
  ASSERT_EQ(ledger_->largest(blocks, 10), 7u);
  for (size_t i = 1; i < 7; ++i) EXPECT_LE(blocks[i].size_bytes, blocks[i - 1].size_bytes);
  EXPECT_EQ(ledger_->largest(blocks, 0), 0u);
}

TEST_F(LedgerTest, ThreadsThatAddRemoveAndScanLeaveAnEmptyLedger) {
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> workers;
  for (int32_t t = 0; t < 3; ++t) {
    workers.emplace_back([&, t] {
      for (int round = 0; round < 300; ++round) {
        for (uintptr_t i = 0; i < 30; ++i) {
          const uintptr_t at = kBase + (static_cast<uintptr_t>(t) * 30 + i) * 64 * kMiB;
          ledger_->add(block_at(at, static_cast<int64_t>(2 + i) * kMiB, 100 + t, i % 2 == 0));
        }
        for (uintptr_t i = 0; i < 30; ++i) {
          const uintptr_t at = kBase + (static_cast<uintptr_t>(t) * 30 + i) * 64 * kMiB;
          Block block{};
          if (i % 2 == 0) {
            const bool right = ledger_->remove(at, &block) && block.thread_id == 100 + t &&
                               block.size_bytes == static_cast<int64_t>(2 + i) * kMiB;
            if (!right) ++wrong;
          } else {
            ledger_->unmap(at, (2 + i) * kMiB);
            if (ledger_->find(at, &block)) ++wrong;
          }
        }
      }
    });
  }
  std::thread scanner([&] {
    Block blocks[10];
    while (!stop) {
      const size_t count = ledger_->largest(blocks, 10);
      for (size_t i = 0; i < count; ++i) {
        if (blocks[i].size_bytes < 2 * kMiB || blocks[i].size_bytes > 31 * kMiB) ++wrong;
      }
      if (ledger_->in_flight(0, kNow, blind_) < 0 || ledger_->in_flight_bound(0, kNow) < 0) ++wrong;
      ledger_->most_active_thread(kNow);
    }
  });
  for (std::thread& worker : workers) worker.join();
  stop = true;
  scanner.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(ledger_->count(), 0u);
  EXPECT_EQ(ledger_->total_bytes(), 0);
  EXPECT_EQ(ledger_->dropped(), 0u);
  EXPECT_EQ(ledger_->in_flight_bound(0, kNow), 0);
}

TEST_F(LedgerTest, InAForkedChildNothingIsInFlightButTheBlocksAreKnown) {
  ledger_->add(block_at(kBase, 8 * kMiB, kOther));
  expect_in_child([&] {
    ledger_->on_fork_child();
    EXPECT_EQ(ledger_->in_flight(kOwn, kNow, blind_), 0);
    EXPECT_EQ(ledger_->in_flight_bound(kOwn, kNow), 0);
    EXPECT_TRUE(ledger_->find(kBase, &found_));
    ledger_->add(block_at(kBase + 64 * kMiB, 2 * kMiB, kOther));
    EXPECT_EQ(ledger_->in_flight(kOwn, kNow, blind_), 2 * kMiB);
    EXPECT_TRUE(ledger_->remove(kBase, nullptr));
    EXPECT_EQ(ledger_->total_bytes(), 2 * kMiB);
  });
}

}  // namespace
}  // namespace oomguard::budget

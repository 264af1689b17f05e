// The ledger on memory that is really there, half there, or not at all.
#include <gtest/gtest.h>

#include <memory>

#include "shim/budget/ledger.h"
#include "tests/shim/budget/harness.h"

namespace oomguard::budget {
namespace {

using test::Mapped;

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kBorn = 1'000'000 * kMs;
constexpr int32_t kSelf = 1;
constexpr int32_t kFiller = 2;

class LedgerResidencyTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!residency_.open()) GTEST_SKIP() << "/proc/self/pagemap does not tell on this kernel";
  }
  void add(const Mapped& memory) {
    ledger_->add({memory.address(), memory.size(), -1, kBorn, 0, kFiller, false});
  }
  int64_t in_flight(int64_t age_ms) {
    return ledger_->in_flight(kSelf, kBorn + age_ms * kMs, residency_);
  }

  void look_at_quiet(int64_t age_ms) {
    ledger_->look_at_quiet(100, kBorn + age_ms * kMs, residency_);
  }

  std::unique_ptr<Ledger> ledger_ = std::make_unique<Ledger>();
  probe::Residency residency_;
};

TEST_F(LedgerResidencyTest, AYoungBlockCountsByWhatIsNotThereYet) {
  const Mapped memory(64 * kMiB);
  add(memory);
  EXPECT_EQ(in_flight(1), 64 * kMiB);
  memory.touch(0, 32 * kMiB);
  // Estimated from 32 pages of the block: one page more or less is 2 MiB.
  EXPECT_NEAR(static_cast<double>(in_flight(4)), 32.0 * kMiB, 2.1 * kMiB);
  memory.touch();
  EXPECT_EQ(in_flight(8), 0);
}

TEST_F(LedgerResidencyTest, ASkeletonIsInFlightOnlyWhileItIsYoung) {
  const Mapped skeleton(256 * kMiB);
  add(skeleton);
  EXPECT_EQ(in_flight(90), 256 * kMiB);
  EXPECT_EQ(in_flight(150), 0);
  EXPECT_EQ(in_flight(60'000), 0);
}

TEST_F(LedgerResidencyTest, WhatAThreadWentOnWithoutBeginningToFillIsNotInFlight) {
  const Mapped untouched(64 * kMiB);
  const Mapped begun(64 * kMiB);
  add(untouched);
  add(begun);
  EXPECT_EQ(in_flight(1), 128 * kMiB);
  begun.touch(0, 32 * kMiB);
  EXPECT_TRUE(ledger_->pass_over(kFiller, kBorn + 4 * kMs)) << "two may be made, then filled";
  EXPECT_NEAR(static_cast<double>(in_flight(4)), 96.0 * kMiB, 2.1 * kMiB);
  EXPECT_FALSE(ledger_->pass_over(kSelf, kBorn + 6 * kMs)) << "has none";
  EXPECT_NEAR(static_cast<double>(in_flight(6)), 96.0 * kMiB, 2.1 * kMiB) << "may wait";
  EXPECT_FALSE(ledger_->pass_over(kFiller, kBorn + 7 * kMs));
  EXPECT_NEAR(static_cast<double>(in_flight(7)), 32.0 * kMiB, 2.1 * kMiB);
  untouched.touch(0, 16 * kMiB);
  look_at_quiet(8);
  EXPECT_NEAR(static_cast<double>(in_flight(9)), 80.0 * kMiB, 2.1 * kMiB) << "it is filled";
}

TEST_F(LedgerResidencyTest, WhatWasBegunSinceTheLastLookIsNotPassedOver) {
  const Mapped memory(64 * kMiB);
  add(memory);
  EXPECT_EQ(in_flight(6), 64 * kMiB);
  memory.touch(0, 32 * kMiB);
  ledger_->pass_over(kFiller, kBorn + 7 * kMs);
  EXPECT_NEAR(static_cast<double>(in_flight(7)), 32.0 * kMiB, 2.1 * kMiB);
}

TEST_F(LedgerResidencyTest, AQuietBlockThatMovesAgainIsInFlightAgain) {
  const Mapped memory(64 * kMiB);
  add(memory);
  in_flight(1);
  EXPECT_EQ(in_flight(1000), 0);
  memory.touch(0, 16 * kMiB);
  EXPECT_EQ(in_flight(1999), 0) << "nobody looks at a quiet block";
  look_at_quiet(2000);
  const int64_t moving = in_flight(2000);
  EXPECT_NEAR(static_cast<double>(moving), 48.0 * kMiB, 2.1 * kMiB);
  EXPECT_EQ(in_flight(2050), moving) << "within 100 ms of its last move";
  EXPECT_EQ(in_flight(2200), 0) << "quiet again";
  look_at_quiet(3000);
  EXPECT_EQ(in_flight(3000), 0) << "and still";
}

TEST_F(LedgerResidencyTest, QuietBlocksAreLookedAtInTurns) {
  const Mapped memory(64 * kMiB);
  for (uintptr_t i = 0; i < 32; ++i) {
    ledger_->add({memory.address() + i * 2 * kMiB, 2 * kMiB, -1, kBorn, 0, kFiller, false});
  }
  EXPECT_EQ(in_flight(1), 64 * kMiB);
  EXPECT_EQ(in_flight(1000), 0);
  memory.touch();
  for (int64_t i = 0; i < 300; ++i) {
    ledger_->look_at_quiet(1, kBorn + (2000 + i) * kMs, residency_);
  }
  Block found{};
  for (uintptr_t i = 0; i < 32; ++i) {
    ASSERT_TRUE(ledger_->find(memory.address() + i * 2 * kMiB, &found));
    EXPECT_EQ(found.touched_bytes, 2 * kMiB) << i;
  }
}

TEST_F(LedgerResidencyTest, ReadingAlonePutsNothingThere) {
  const Mapped memory(16 * kMiB);
  add(memory);
  volatile char sum = 0;
  for (size_t at = 0; at < 16 * kMiB; at += 4096) {
    sum = static_cast<char>(sum + reinterpret_cast<const volatile char*>(memory.address())[at]);
  }
  EXPECT_EQ(in_flight(1), 16 * kMiB) << "the zero page is nobody's memory";
}

TEST_F(LedgerResidencyTest, ACompleteBlockIsNotLookedAtAgain) {
  const Mapped memory(8 * kMiB);
  add(memory);
  memory.touch();
  EXPECT_EQ(in_flight(1), 0);
  EXPECT_EQ(ledger_->in_flight_bound(kSelf, kBorn + 2 * kMs), 0);
  EXPECT_EQ(madvise(reinterpret_cast<void*>(memory.address()), 8 * kMiB, MADV_DONTNEED), 0);
  EXPECT_EQ(in_flight(50), 0);
  Block found{};
  ASSERT_TRUE(ledger_->find(memory.address(), &found));
  EXPECT_EQ(found.touched_bytes, 8 * kMiB);
}

TEST_F(LedgerResidencyTest, TheBoundFollowsTheNewestLookAndIsNeverLess) {
  const Mapped memory(64 * kMiB);
  add(memory);
  EXPECT_EQ(ledger_->in_flight_bound(kSelf, kBorn), 64 * kMiB);
  memory.touch(0, 48 * kMiB);
  EXPECT_GE(ledger_->in_flight_bound(kSelf, kBorn + kMs), in_flight(1));
  EXPECT_NEAR(static_cast<double>(ledger_->in_flight_bound(kSelf, kBorn + 2 * kMs)), 16.0 * kMiB,
              2.1 * kMiB);
}

TEST_F(LedgerResidencyTest, AFillingThreadIsTheMostActiveOne) {
  const Mapped quiet(64 * kMiB);
  const Mapped moving(32 * kMiB);
  ledger_->add({quiet.address(), quiet.size(), -1, kBorn, 0, 5, false});
  ledger_->add({moving.address(), moving.size(), -1, kBorn, 0, 6, false});
  in_flight(1);
  in_flight(1000);
  moving.touch(0, 16 * kMiB);
  look_at_quiet(3000);
  EXPECT_EQ(ledger_->most_active_thread(kBorn + 3001 * kMs), 6);
}

TEST_F(LedgerResidencyTest, ABlockWhoseRangeIsGoneHarmsNobody) {
  uintptr_t address = 0;
  {
    const Mapped memory(16 * kMiB);
    add(memory);
    memory.touch(0, 8 * kMiB);
    address = memory.address();
  }
  EXPECT_GE(in_flight(1), 0);
  EXPECT_LE(in_flight(4), 16 * kMiB);
  EXPECT_TRUE(ledger_->remove(address, nullptr));
  EXPECT_EQ(in_flight(8), 0);
}

}  // namespace
}  // namespace oomguard::budget

#include "shim/spill/give_back.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/shim/spill/harness.h"

namespace oomguard::spill {
namespace {

constexpr size_t kBlock = 64 * 1024 * 1024;

class GiveBack : public testing::Test {
 protected:
  void SetUp() override { OOMGUARD_SKIP_UNDER_SANITIZER(); }
};

// fork as the hook does it; the child runs `body` and leaves.
template <typename Body>
bool fork_child(Bytes room, Body body) {
  const bool ready = give_back_for_fork(room, Raw::wake);
  const pid_t child = ready ? fork() : -1;
  if (child == 0) {
    on_fork_child();
    _exit(body() ? 0 : 1);
  }
  fork_over();
  if (ready) {
    EXPECT_EQ(test::wait_for(child), 0);
  }
  return ready;
}

TEST_F(GiveBack, UntouchedPagesAreZeroInTheChildAndItsWritesAreItsOwn) {
  expect_in_child([] {
    configure();
    Raw raw;
    raw.watch(true);
    HeapBlock block(kBlock);
    fill(block.data(), 0, kMiB, 1);
    ASSERT_EQ(lend(raw).outcome, Outcome::kLent);
    EXPECT_TRUE(fork_child(0, [&] {
      const bool zero = not_zero(block.data(), 2 * kMiB, kBlock) == 0;
      fill(block.data(), 0, kBlock, 9);
      return zero && !active();
    }));
    EXPECT_FALSE(active());
    EXPECT_EQ(test::lent_mappings(), 0u);
    EXPECT_EQ(wrong(block.data(), 0, kMiB, 1), 0u);
    EXPECT_EQ(not_zero(block.data(), 2 * kMiB, kBlock), 0u) << "not the child's";
  });
}

TEST_F(GiveBack, TouchedPagesAreCopiedBackWhereThereIsRoom) {
  expect_in_child([] {
    configure();
    Raw raw;
    raw.watch(true);
    HeapBlock block(kBlock);
    ASSERT_EQ(lend(raw).outcome, Outcome::kLent);
    fill(block.data(), 10 * kMiB, 20 * kMiB, 1);
    EXPECT_TRUE(fork_child(kGiB, [&] {
      const bool same = wrong(block.data(), 10 * kMiB, 20 * kMiB, 1) == 0;
      fill(block.data(), 0, kBlock, 9);
      return same;
    }));
    EXPECT_FALSE(active());
    EXPECT_EQ(wrong(block.data(), 10 * kMiB, 20 * kMiB, 1), 0u);
    EXPECT_EQ(not_zero(block.data(), 20 * kMiB, kBlock), 0u);
    fill(block.data(), 0, kBlock, 2);
    EXPECT_EQ(lend(raw).outcome, Outcome::kNothing) << "the block is full, and its own memory";
    EXPECT_EQ(wrong(block.data(), 0, kBlock, 2), 0u);
  });
}

TEST_F(GiveBack, WithoutRoomForThemItSaysNoAndChangesNothing) {
  expect_in_child([] {
    configure();
    Raw raw;
    raw.watch(true);
    HeapBlock block(kBlock);
    ASSERT_EQ(lend(raw).outcome, Outcome::kLent);
    fill(block.data(), 10 * kMiB, 20 * kMiB, 1);
    EXPECT_FALSE(fork_child(4 * kMiB, [] { return true; }));
    EXPECT_TRUE(active());
    EXPECT_TRUE(is_lent(block.address()));
    EXPECT_EQ(wrong(block.data(), 10 * kMiB, 20 * kMiB, 1), 0u);
  });
}

TEST_F(GiveBack, WhileAForkIsUnderWayNothingIsLent) {
  expect_in_child([] {
    configure();
    Raw raw;
    HeapBlock block(kBlock);
    ASSERT_TRUE(give_back_for_fork(0, Raw::wake));
    EXPECT_EQ(lend(raw).outcome, Outcome::kNothing);
    fork_over();
    EXPECT_EQ(lend(raw).outcome, Outcome::kLent);
  });
}

TEST_F(GiveBack, WhereNobodyAnswersItSaysNoInTime) {
  expect_in_child([] {
    configure();
    HeapBlock block(kBlock);
    {
      Raw raw;
      ASSERT_EQ(lend(raw).outcome, Outcome::kLent);
    }
    EXPECT_FALSE(give_back_for_fork(kGiB, +[]() noexcept {}));
    fork_over();
  });
}

TEST_F(GiveBack, ThreadsThatWriteMeanwhileLoseNothing) {
  expect_in_child([] {
    configure(4 * kGiB, 2 * kGiB);
    Raw raw;
    raw.watch(true);
    HeapBlock block(kBlock);
    std::atomic<size_t> errors{0};
    std::thread writer([&] {
      for (size_t at = 0; at < kBlock; at += 65536) {
        fill(block.data(), at, at + 65536, 3);
        if (at % kMiB == 0) errors.fetch_add(wrong(block.data(), 0, at, 3));
      }
    });
    int given = 0;
    for (int round = 0; round < 5; ++round) {
      lend(raw, kMiB);
      if (give_back_for_fork(kGiB, Raw::wake)) ++given;
      fork_over();
    }
    writer.join();
    EXPECT_GT(given, 0);
    EXPECT_EQ(errors.load(), 0u);
    EXPECT_EQ(wrong(block.data(), 0, kBlock, 3), 0u);
  });
}

}  // namespace
}  // namespace oomguard::spill

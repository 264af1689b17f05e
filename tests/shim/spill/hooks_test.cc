// Lent blocks under the hooks of malloc and fork: this program is linked with them.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include "tests/shim/spill/harness.h"

namespace oomguard::spill {
namespace {

constexpr size_t kBlock = 64 * 1024 * 1024;

// A block that the hooks recorded, half full and then lent, and a little of the lent part filled.
char* lent_block(Raw& raw) {
  char* block = static_cast<char*>(malloc(kBlock));
  fill(block, 0, kBlock / 2, 1);
  EXPECT_EQ(lend(raw).outcome, Outcome::kLent);
  EXPECT_TRUE(is_lent(reinterpret_cast<uintptr_t>(block)));
  fill(block, kBlock / 2, kBlock / 2 + 4 * kMiB, 1);
  return block;
}

bool lent(const char* block) { return is_lent(reinterpret_cast<uintptr_t>(block)); }

class LentHooks : public testing::Test {
 protected:
  void SetUp() override { OOMGUARD_SKIP_UNDER_SANITIZER(); }

  template <typename Body>
  static void expect_guarded(Body body, Bytes room = 4096 * kMiB) {
    expect_in_child([&] {
      test::guard(test::budget_of(room));
      configure();
      Raw raw;
      raw.watch(true);
      body(raw);
    });
  }
};

TEST_F(LentHooks, FreeGivesTheSpaceBack) {
  expect_guarded([](Raw& raw) {
    char* block = lent_block(raw);
    tend(raw);
    EXPECT_GE(touched(), 4 * kMiB);
    const uintptr_t address = reinterpret_cast<uintptr_t>(block);
    free(block);
    EXPECT_FALSE(is_lent(address));
    tend(raw);
    EXPECT_FALSE(active());
    EXPECT_EQ(test::lent_mappings(), 0u);
  });
}

// Giving it back waits for the disk, and the watchdog has no time where memory is about to run out.
TEST_F(LentHooks, InHasteTheDiskKeepsWhatWasFreed) {
  expect_guarded([](Raw& raw) {
    raw.watch(false);
    char* block = lent_block(raw);
    free(block);
    raw.run([] { tend(true); });
    EXPECT_TRUE(active());
    EXPECT_LT(in_file(), kMiB) << "it is memory of nobody";
    raw.run([] { tend(false); });
    EXPECT_FALSE(active());
  });
}

TEST_F(LentHooks, ABlockThatGrowsIsCopied) {
  expect_guarded([](Raw& raw) {
    char* block = lent_block(raw);
    char* grown = static_cast<char*>(realloc(block, 2 * kBlock));
    ASSERT_NE(grown, nullptr);
    EXPECT_FALSE(lent(grown));
    EXPECT_EQ(wrong(grown, 0, kBlock / 2 + 4 * kMiB, 1), 0u);
    EXPECT_EQ(not_zero(grown, kBlock / 2 + 4 * kMiB, kBlock), 0u);
    tend(raw);
    EXPECT_FALSE(active());
    char* again = static_cast<char*>(realloc(grown, 3 * kBlock));
    EXPECT_EQ(wrong(again, 0, kBlock / 2 + 4 * kMiB, 1), 0u);
    free(again);
  });
}

TEST_F(LentHooks, ABlockThatShrinksALittleStaysWhereItIs) {
  expect_guarded([](Raw& raw) {
    char* block = lent_block(raw);
    const uintptr_t address = reinterpret_cast<uintptr_t>(block);
    char* same = static_cast<char*>(realloc(block, kBlock - 4 * kMiB));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(same), address);
    EXPECT_TRUE(lent(same));
    EXPECT_EQ(wrong(same, 0, kBlock / 2 + 4 * kMiB, 1), 0u);
    free(same);
    tend(raw);
    EXPECT_FALSE(active());
  });
}

TEST_F(LentHooks, ABlockThatShrinksMuchIsCopied) {
  expect_guarded([](Raw& raw) {
    char* block = lent_block(raw);
    char* rest = static_cast<char*>(realloc(block, 2 * kMiB));
    ASSERT_NE(rest, nullptr);
    EXPECT_FALSE(lent(rest));
    EXPECT_EQ(wrong(rest, 0, 2 * kMiB, 1), 0u);
    tend(raw);
    EXPECT_FALSE(active());
    free(rest);
  });
}

TEST_F(LentHooks, ReallocToNothingFrees) {
  expect_guarded([](Raw& raw) {
    char* block = lent_block(raw);
    void* volatile nothing = realloc(block, 0);
    EXPECT_EQ(nothing, nullptr);
    tend(raw);
    EXPECT_FALSE(active());
  });
}

// The beginning of the second page of a lent block: what is before is the header's.
char* page_of(char* block, size_t at) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(block) + at;
  return reinterpret_cast<char*>((address + 4095) & ~uintptr_t{4095});
}

TEST_F(LentHooks, WhatTheProgramDropsIsZero) {
  expect_guarded([](Raw& raw) {
    for (const int advice : {MADV_DONTNEED, MADV_FREE, 24 /*MADV_DONTNEED_LOCKED*/}) {
      char* block = lent_block(raw);
      tend(raw);
      const Bytes before = touched();
      // From what was never lent into what is lent and filled.
      char* from = page_of(block, kBlock / 2 - kMiB);
      const int status = madvise(from, 3 * kMiB, advice);
      if (advice == 24 && status != 0) {
        free(block);
        continue;  // an older kernel
      }
      EXPECT_EQ(status, 0) << advice;
      EXPECT_EQ(wrong(block, 0, static_cast<size_t>(from - block), 1), 0u);
      EXPECT_EQ(not_zero(from, 0, 3 * kMiB), 0u) << advice;
      const size_t behind = static_cast<size_t>(from - block) + 3 * kMiB;
      EXPECT_EQ(wrong(block, behind + 8, kBlock / 2 + 4 * kMiB, 1), 0u);
      tend(raw);
      EXPECT_LE(touched(), before - kMiB) << "its file space came back";
      fill(block, 0, kBlock, 2);
      EXPECT_EQ(wrong(block, 0, kBlock, 2), 0u);
      free(block);
      tend(raw);
    }
  });
}

TEST_F(LentHooks, WhatIsDroppedBehindAGuardOfTheProgramIsZeroOnceItIsOpenedAgain) {
  expect_guarded([](Raw& raw) {
    char* block = lent_block(raw);
    char* from = page_of(block, kBlock / 2 + kMiB);
    EXPECT_EQ(mprotect(from, kMiB, PROT_NONE), 0);
    EXPECT_EQ(madvise(from, kMiB, MADV_DONTNEED), 0);
    EXPECT_EQ(mprotect(from, kMiB, PROT_READ | PROT_WRITE), 0);
    EXPECT_EQ(not_zero(from, 0, kMiB), 0u);
    EXPECT_EQ(wrong(from + kMiB, 8, kMiB, 1 + static_cast<size_t>(from + kMiB - block)), 0u);
    free(block);
  });
}

TEST_F(LentHooks, AdviceThatTheKernelHasForFilesOnlyIsRefusedAsForPrivateMemory) {
  expect_guarded([](Raw& raw) {
    char* block = lent_block(raw);
    char* from = page_of(block, kBlock / 2);
    errno = 0;
    EXPECT_EQ(madvise(from, kMiB, MADV_REMOVE), -1);
    EXPECT_EQ(errno, EINVAL);
    errno = 0;
    EXPECT_EQ(madvise(from + 1, kMiB, MADV_DONTNEED), -1) << "not at a page's beginning";
    EXPECT_EQ(errno, EINVAL);
    EXPECT_EQ(wrong(block, 0, kBlock / 2 + 4 * kMiB, 1), 0u);
    free(block);
  });
}

// Growing in place needs the growth; a lent block needs all of it anew.
TEST_F(LentHooks, AGrowthThatMustBeCopiedIsChargedInFull) {
  expect_guarded(
      [](Raw& raw) {
        char* block = lent_block(raw);
        errno = 0;
        char* volatile old = block;  // the compiler believes that realloc ends it
        void* volatile grown = realloc(old, kBlock + 4 * kMiB);
        EXPECT_EQ(grown, nullptr);
        EXPECT_EQ(errno, ENOMEM);
        EXPECT_TRUE(lent(old)) << "the old block lives on";
        EXPECT_EQ(wrong(old, 0, kBlock / 2 + 4 * kMiB, 1), 0u);
        free(old);
      },
      96 * kMiB);
}

TEST_F(LentHooks, ABlockThatCameBackInPiecesIsCopiedWhereItGrows) {
  expect_guarded([](Raw& raw) {
    char* block = lent_block(raw);
    tend(raw);
    while (active()) test::give_back(raw, 16 * kMiB);
    EXPECT_EQ(test::lent_mappings(), 0u);
    EXPECT_TRUE(lent(block)) << "its mapping cannot be moved as one";
    char* grown = static_cast<char*>(realloc(block, 2 * kBlock));
    ASSERT_NE(grown, nullptr);
    EXPECT_EQ(wrong(grown, 0, kBlock / 2 + 4 * kMiB, 1), 0u);
    EXPECT_EQ(not_zero(grown, kBlock / 2 + 4 * kMiB, kBlock), 0u);
    EXPECT_FALSE(lent(grown));
    free(grown);
  });
}

TEST_F(LentHooks, ABlockThatCameBackIsFreedAsEveryOther) {
  expect_guarded([](Raw& raw) {
    for (int i = 0; i < 3; ++i) {
      char* block = lent_block(raw);
      while (active()) test::give_back(raw, 16 * kMiB);
      const uintptr_t address = reinterpret_cast<uintptr_t>(block);
      free(block);
      EXPECT_FALSE(is_lent(address));
    }
    char* untouched = static_cast<char*>(malloc(kBlock));
    EXPECT_EQ(lend(raw).outcome, Outcome::kLent);
    test::give_back(raw, 0);
    EXPECT_FALSE(lent(untouched)) << "it is one mapping again";
    char* grown = static_cast<char*>(realloc(untouched, 2 * kBlock));
    fill(grown, 0, 2 * kBlock, 2);
    EXPECT_EQ(wrong(grown, 0, 2 * kBlock, 2), 0u);
    free(grown);
  });
}

TEST_F(LentHooks, AForkCopies) {
  expect_guarded([](Raw& raw) {
    char* block = lent_block(raw);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const size_t errors = wrong(block, 0, kBlock / 2 + 4 * kMiB, 1);
      memset(block, 9, kBlock);
      _exit(errors == 0 ? 0 : 1);
    }
    EXPECT_EQ(test::wait_for(child), 0);
    EXPECT_FALSE(active());
    EXPECT_EQ(wrong(block, 0, kBlock / 2 + 4 * kMiB, 1), 0u);
    EXPECT_EQ(not_zero(block, kBlock / 2 + 4 * kMiB, kBlock), 0u);
    free(block);
    static_cast<void>(raw);
  });
}

TEST_F(LentHooks, AForkWithoutRoomFailsWithEnomem) {
  expect_guarded(
      [](Raw& raw) {
        char* block = lent_block(raw);
        fill(block, kBlock / 2, kBlock, 1);
        char* other = static_cast<char*>(malloc(32 * kMiB));
        ASSERT_NE(other, nullptr);
        fill(other, 0, 32 * kMiB, 2);
        errno = 0;
        const pid_t child = fork();
        if (child == 0) _exit(0);
        EXPECT_EQ(child, -1);
        EXPECT_EQ(errno, ENOMEM);
        EXPECT_EQ(wrong(block, 0, kBlock, 1), 0u);
        free(block);
        tend(raw);
        const pid_t later = fork();
        if (later == 0) _exit(0);
        EXPECT_GT(later, 0);
        EXPECT_EQ(test::wait_for(later), 0);
        free(other);
      },
      96 * kMiB);
}

}  // namespace
}  // namespace oomguard::spill

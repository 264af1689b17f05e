#include "shim/budget/group_table.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>

#include "collector/probe/syscall.h"
#include "shim/budget/ledger.h"
#include "tests/shim/budget/harness.h"

namespace oomguard::budget {
namespace {

using test::Folder;
using test::expect_in_child;
using test::in_child;
using test::Signpost;
using test::start_child;
using test::wait_for;
using test::write_file;

constexpr uint64_t kKey = 0x0123456789abcdef;
constexpr int64_t kSecond = 1'000'000'000;

// The file as the processes share it.
struct File {
  char magic[8];
  GroupTable::Slot slots[GroupTable::kSlots];
};

class GroupTableTest : public testing::Test {
 protected:
  std::string file() const { return folder_ / "groups/0123456789abcdef-4"; }
  File* map() const {
    const int fd = open(file().c_str(), O_RDWR | O_CLOEXEC);
    void* mapped = mmap(nullptr, sizeof(File), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return mapped == MAP_FAILED ? nullptr : static_cast<File*>(mapped);
  }
  bool join(GroupTable& table) const { return table.open(folder_.path().c_str(), kKey); }
  // A member that publishes once and stays until it is killed.
  pid_t start_member(int64_t pending, int64_t in_flight, int64_t growth, int64_t bytes,
                     int64_t pace = 1) {
    const Signpost published;
    const pid_t child = start_child([&] {
      GroupTable table;
      ASSERT_TRUE(join(table));
      table.own()->pending = pending;
      table.own()->in_flight = in_flight;
      table.own()->growth = growth;
      table.own()->pace = pace;
      table.own()->bytes = bytes;
      table.own()->heartbeat_ns = sys::monotonic_ns();
      published.set();
      for (;;) pause();
    });
    published.wait();
    return child;
  }
  static void end(pid_t child) {
    kill(child, SIGKILL);
    wait_for(child);
  }
  uint32_t members() { return table_.others(sys::monotonic_ns(), 0).members; }

  Folder folder_;
  GroupTable table_;
};

TEST_F(GroupTableTest, AloneBeforeItIsOpened) {
  EXPECT_FALSE(table_.joined());
  EXPECT_EQ(table_.own(), nullptr);
  EXPECT_EQ(members(), 0u);
  EXPECT_FALSE(table_.guarded(getpid()));
  table_.refresh_others(sys::monotonic_ns());
  table_.leave();
  table_.close_in_child();
}

TEST_F(GroupTableTest, ClaimsASlotThatOthersSeeButItselfDoesNot) {
  ASSERT_TRUE(join(table_));
  ASSERT_TRUE(table_.joined());
  EXPECT_EQ(table_.own()->pid, getpid());
  EXPECT_EQ(table_.own()->tree, table_.tree());
  EXPECT_NE(table_.tree(), 0u);
  EXPECT_EQ(table_.origin(), 0);
  EXPECT_TRUE(table_.guarded(getpid()));
  EXPECT_FALSE(table_.guarded(1));
  table_.own()->pending = 77;
  EXPECT_EQ(members(), 0u);
  EXPECT_EQ(table_.others(sys::monotonic_ns(), 0).pending, 0);
  struct stat status {};
  ASSERT_EQ(stat(file().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST_F(GroupTableTest, WhoIsAboutToEndIsKnownForAMoment) {
  ASSERT_TRUE(join(table_));
  const int64_t now_ns = sys::monotonic_ns();
  table_.own()->ends_ns = now_ns;
  const pid_t child = start_member(0, 0, 0, 0);
  EXPECT_FALSE(table_.others(now_ns, 0).ends) << "it is this process itself";
  File* const shared = map();
  ASSERT_NE(shared, nullptr);
  for (GroupTable::Slot& slot : shared->slots) {
    if (slot.pid == child) slot.ends_ns = now_ns;
  }
  EXPECT_TRUE(table_.others(now_ns, 0).ends);
  EXPECT_FALSE(table_.others(now_ns + kSecond, 0).ends) << "it did not";
  munmap(shared, sizeof(File));
  end(child);
}

TEST_F(GroupTableTest, OfSeveralThatStandForEachOtherTheFirstActs) {
  ASSERT_TRUE(join(table_));
  const int64_t now_ns = sys::monotonic_ns();
  const pid_t child = start_member(0, 0, 1 * kMiB, 0);
  File* const shared = map();
  ASSERT_NE(shared, nullptr);
  GroupTable::Slot* slot = nullptr;
  for (GroupTable::Slot& one : shared->slots) {
    if (one.pid == child) slot = &one;
  }
  ASSERT_NE(slot, nullptr);
  slot->pace = 1000;
  EXPECT_TRUE(table_.others(now_ns, 0).goes_on);
  slot->growth = 4096;
  EXPECT_FALSE(table_.others(now_ns, 0).goes_on) << "a page now and then is no growth";
  slot->growth = 1 * kMiB;
  slot->pace = 0;
  slot->stands_ns = now_ns;
  EXPECT_FALSE(table_.others(now_ns, 0).goes_on);
  EXPECT_EQ(table_.others(now_ns, 0).stands_before, child < getpid());
  slot->pid = 1;
  EXPECT_TRUE(table_.others(now_ns, 0).stands_before);
  EXPECT_FALSE(table_.others(now_ns + 2 * kSecond, 0).stands_before) << "it stands no longer";
  slot->pid = child;
  munmap(shared, sizeof(File));
  end(child);
}

TEST_F(GroupTableTest, TwoMembersAreAddedUp) {
  ASSERT_TRUE(join(table_));
  const pid_t first = start_member(10, 200, 3000, 40'000);
  const pid_t second = start_member(1, 20, 5000, 60'000);
  const GroupTable::Others others = table_.others(sys::monotonic_ns(), table_.tree());
  EXPECT_EQ(others.members, 2u);
  EXPECT_EQ(others.pending, 11);
  EXPECT_EQ(others.in_flight, 220);
  EXPECT_EQ(others.growth, 8000);
  EXPECT_EQ(others.largest_growth, 5000);
  EXPECT_EQ(others.tree_bytes, 100'000);
  EXPECT_EQ(table_.others(sys::monotonic_ns(), 1).tree_bytes, 0) << "another tree's";
  EXPECT_TRUE(table_.guarded(first));
  EXPECT_TRUE(table_.guarded(second));
  end(first);
  end(second);
}

TEST_F(GroupTableTest, WhoStandsStillIsNotTheOneToAct) {
  ASSERT_TRUE(join(table_));
  const pid_t grows = start_member(0, 0, 3000, 0, 7);
  const pid_t stands = start_member(0, 0, 5000, 0, 0);
  const GroupTable::Others others = table_.others(sys::monotonic_ns(), 0);
  EXPECT_EQ(others.growth, 8000) << "what it grew by is the group's";
  EXPECT_EQ(others.pace, 7);
  EXPECT_EQ(others.largest_growth, 3000);
  end(grows);
  end(stands);
}

TEST_F(GroupTableTest, WhatAKilledNeighbourHadComesBackAtOnce) {
  ASSERT_TRUE(join(table_));
  const pid_t child = start_member(1, 1 << 20, 1, 1);
  EXPECT_EQ(members(), 1u);
  end(child);
  EXPECT_EQ(members(), 0u);
  EXPECT_EQ(table_.others(sys::monotonic_ns(), 0).in_flight, 0);
}

TEST_F(GroupTableTest, WhatIsFreedIsTakenBackAtOnceAndNothingTwice) {
  expect_in_child([&] {
    constexpr int64_t kSize = 16 << 20;
    ASSERT_TRUE(join(group_table));
    const auto blocks = std::make_unique<Ledger>();
    std::atomic<int64_t>& shown = group_table.own()->in_flight;
    const auto grant = [&](uintptr_t address) {
      blocks->add({address, kSize, -1, kSecond, 0, 1, true});
      group_table.add_in_flight(kSize);
    };
    for (uintptr_t i = 1; i <= 100; ++i) {
      grant(i << 30);
      EXPECT_EQ(shown, kSize);
      ASSERT_TRUE(blocks->remove(i << 30, nullptr));
      EXPECT_EQ(shown, 0);
    }
    grant(1 << 30);
    EXPECT_EQ(blocks->in_flight_bound(0, 2 * kSecond), 0) << "it is quiet: the look leaves it out";
    shown = 5;
    ASSERT_TRUE(blocks->remove(1 << 30, nullptr));
    EXPECT_EQ(shown, 5);
    grant(1 << 30);
    shown = 7;  // a look came between
    ASSERT_TRUE(blocks->remove(1 << 30, nullptr));
    EXPECT_EQ(shown, 0) << "never less than nothing";
    group_table.leave();
  });
}

TEST_F(GroupTableTest, ASlotWhoseHeartbeatStoppedCountsForNothing) {
  ASSERT_TRUE(join(table_));
  const pid_t child = start_member(1, 2, 3, 4);
  EXPECT_EQ(table_.others(sys::monotonic_ns() + kSecond / 2, 0).members, 1u);
  EXPECT_EQ(table_.others(sys::monotonic_ns() + 2 * kSecond, 0).members, 0u);
  EXPECT_EQ(table_.others(sys::monotonic_ns() + 2 * kSecond, table_.tree()).tree_bytes, 4)
      << "it still holds what it held";
  end(child);
}

TEST_F(GroupTableTest, SweepingFreesTheSlotOfAProcessThatNobodyWaitedFor) {
  ASSERT_TRUE(join(table_));
  const pid_t child = start_member(1, 2, 3, 4);
  table_.sweep(sys::monotonic_ns());
  EXPECT_TRUE(table_.guarded(child)) << "it lives";
  kill(child, SIGKILL);
  siginfo_t info;
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), 0);
  table_.sweep(sys::monotonic_ns());
  EXPECT_FALSE(table_.guarded(child));
  EXPECT_EQ(table_.others(sys::monotonic_ns(), table_.tree()).tree_bytes, 0);
  wait_for(child);
}

TEST_F(GroupTableTest, SweepingFreesAStoppedSlotWhoseNumberBelongsToAnotherProcess) {
  ASSERT_TRUE(join(table_));
  const pid_t child = start_member(1, 2, 3, 4);
  File* shared = map();
  ASSERT_NE(shared, nullptr);
  for (GroupTable::Slot& slot : shared->slots) {
    if (slot.pid == child) slot.start_ticks = slot.start_ticks - 1;
  }
  table_.sweep(sys::monotonic_ns());
  EXPECT_TRUE(table_.guarded(child)) << "its heartbeat is fresh";
  table_.sweep(sys::monotonic_ns() + 2 * kSecond);
  EXPECT_FALSE(table_.guarded(child));
  end(child);
}

// A file that survived a reboot: its heartbeats are of a clock that began anew, its process ids
// belong to others now.
TEST_F(GroupTableTest, AHeartbeatFromTheFutureCountsForNothing) {
  ASSERT_TRUE(join(table_));
  File* shared = map();
  ASSERT_NE(shared, nullptr);
  GroupTable::Slot& old = shared->slots[5];
  old.pid = getppid();
  old.in_flight = 1 << 30;
  old.heartbeat_ns = sys::monotonic_ns() + 3600 * kSecond;
  EXPECT_EQ(members(), 0u);
  old.heartbeat_ns = INT64_MIN;
  EXPECT_EQ(members(), 0u);
  old.heartbeat_ns = sys::monotonic_ns();
  EXPECT_EQ(members(), 1u);
}

TEST_F(GroupTableTest, SlotsOfDeadProcessesAreUsedAgain) {
  for (uint32_t i = 0; i < GroupTable::kSlots + 20; ++i) {
    ASSERT_EQ(0, in_child([&] {
                GroupTable table;
                EXPECT_TRUE(join(table));  // and never leaves
                table.own()->in_flight = 1000;
              }));
  }
  ASSERT_TRUE(join(table_));
  EXPECT_EQ(table_.own()->in_flight, 0) << "nothing of the one before";
  EXPECT_EQ(table_.own()->pending, 0);
}

TEST_F(GroupTableTest, LeavingFreesTheSlot) {
  ASSERT_TRUE(join(table_));
  table_.leave();
  EXPECT_FALSE(table_.joined());
  File* shared = map();
  ASSERT_NE(shared, nullptr);
  for (const GroupTable::Slot& slot : shared->slots) EXPECT_EQ(slot.pid, 0);
}

TEST_F(GroupTableTest, AForkedChildGetsASlotOfItsOwn) {
  ASSERT_TRUE(join(table_));
  table_.own()->pending = 5;
  expect_in_child([&] {
    table_.close_in_child();
    EXPECT_FALSE(table_.joined());
    ASSERT_TRUE(join(table_));
    EXPECT_EQ(table_.own()->pid, getpid());
    EXPECT_EQ(members(), 1u);
    EXPECT_EQ(table_.others(sys::monotonic_ns(), 0).pending, 5);
    table_.leave();
  });
  EXPECT_EQ(table_.own()->pid, getpid());
}

TEST_F(GroupTableTest, AChildThatLeavesBeforeItClosedDoesNotFreeItsParentsSlot) {
  ASSERT_TRUE(join(table_));
  expect_in_child([&] { table_.leave(); });
  EXPECT_EQ(table_.own()->pid, getpid());
}

TEST_F(GroupTableTest, WhereAllSlotsAreTakenTheProcessActsAlone) {
  ASSERT_TRUE(join(table_));
  File* shared = map();
  ASSERT_NE(shared, nullptr);
  for (GroupTable::Slot& slot : shared->slots) slot.pid = getppid();
  GroupTable late;
  EXPECT_FALSE(join(late));
  EXPECT_FALSE(late.joined());
}

TEST_F(GroupTableTest, OneGroupDoesNotSeeAnother) {
  ASSERT_TRUE(join(table_));
  const pid_t child = start_member(1, 2, 3, 4);
  GroupTable other;
  ASSERT_TRUE(other.open(folder_.path().c_str(), kKey + 1));
  EXPECT_EQ(other.others(sys::monotonic_ns(), 0).members, 0u);
  end(child);
}

TEST_F(GroupTableTest, RefreshWakesANeighbourWithSomethingInFlightAndWaitsForItsSample) {
  ASSERT_TRUE(join(table_));
  const Signpost ready;
  const pid_t child = start_child([&] {
    GroupTable table;
    ASSERT_TRUE(join(table));
    table.own()->in_flight = 1 << 20;
    const uint32_t heard = table.own()->wake;
    ready.set();
    while (table.own()->wake == heard) usleep(50);
    table.own()->in_flight = 4096;
    table.own()->heartbeat_ns = sys::monotonic_ns();
    for (;;) pause();
  });
  ready.wait();
  const int64_t before = sys::monotonic_ns();
  table_.refresh_others(before);
  EXPECT_LT(sys::monotonic_ns() - before, 1 * kSecond);
  // 3 ms may be too short on a machine under load; the sample is there soon after.
  int64_t in_flight = -1;
  for (int i = 0; i < 200 && in_flight != 4096; ++i) {
    in_flight = table_.others(sys::monotonic_ns(), 0).in_flight;
    usleep(1000);
  }
  EXPECT_EQ(in_flight, 4096);
  end(child);
}

TEST_F(GroupTableTest, RefreshDoesNotWaitWhereNobodyHasAnythingInFlight) {
  ASSERT_TRUE(join(table_));
  const pid_t child = start_member(1, 0, 3, 4);
  const int64_t before = sys::monotonic_ns();
  for (int i = 0; i < 10; ++i) table_.refresh_others(before);
  EXPECT_LT(sys::monotonic_ns() - before, 10 * 500'000);
  end(child);
}

TEST_F(GroupTableTest, ThreadsThatClaimAtOnceGetDifferentSlots) {
  constexpr int kChildren = 12;
  pid_t children[kChildren];
  for (pid_t& child : children) child = start_member(1, 0, 0, 0);
  ASSERT_TRUE(join(table_));
  EXPECT_EQ(members(), uint32_t{kChildren});
  for (const pid_t child : children) end(child);
}

}  // namespace
}  // namespace oomguard::budget

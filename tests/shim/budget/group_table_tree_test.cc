// Which members of a group are one tree of processes.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include "collector/probe/syscall.h"
#include "shim/budget/group_table.h"
#include "tests/shim/budget/harness.h"

namespace oomguard::budget {
namespace {

using test::expect_in_child;
using test::Folder;
using test::Signpost;
using test::start_child;
using test::wait_for;

constexpr uint64_t kKey = 0x0123456789abcdef;

class GroupTableTreeTest : public testing::Test {
 protected:
  bool join(GroupTable& table) const { return table.open(folder_.path().c_str(), kKey); }

  Folder folder_;
  GroupTable table_;
};

// What a member that was executed anew does: it knows nothing, and looks.
TEST_F(GroupTableTreeTest, AMemberFindsItsTreeAgainByItsOwnSlot) {
  ASSERT_TRUE(join(table_));
  GroupTable executed;
  ASSERT_TRUE(join(executed));
  EXPECT_EQ(executed.tree(), table_.tree());
  EXPECT_EQ(executed.origin(), 0);
}

// What it held on a card went with the exec, also where its earlier slot is not the first free one.
TEST_F(GroupTableTreeTest, AMemberThatWasExecutedHoldsNothingAnyMore) {
  const Signpost joined;
  const pid_t first = start_child([&] {
    GroupTable table;
    ASSERT_TRUE(join(table));
    joined.set();
    for (;;) pause();
  });
  joined.wait();
  ASSERT_TRUE(join(table_));
  std::atomic<int64_t>* held = table_.card(7);
  ASSERT_NE(held, nullptr);
  *held = 4096;
  kill(first, SIGKILL);
  wait_for(first);
  GroupTable executed;
  ASSERT_TRUE(join(executed));
  std::atomic<int64_t>* now = executed.card(7);
  ASSERT_NE(now, held);
  EXPECT_EQ(executed.others_on_card(now), 0);
}

TEST_F(GroupTableTreeTest, ADescendantFindsTheTreeOfItsNearestAncestor) {
  ASSERT_TRUE(join(table_));
  // Its parent, which is no member, has a session and a group of its own.
  expect_in_child([&] {
    setsid();
    expect_in_child([&] {
      GroupTable executed;
      ASSERT_TRUE(join(executed));
      EXPECT_EQ(executed.tree(), table_.tree());
      EXPECT_EQ(executed.origin(), getpgid(getppid()) == getppid() ? table_.own()->pid.load() : 0);
    });
  });
}

TEST_F(GroupTableTreeTest, AForkedChildStaysInItsTreeAlsoWhereItsParentIsGone) {
  ASSERT_TRUE(join(table_));
  const int32_t parent = getpid();
  expect_in_child([&] {
    table_.close_in_child();
    ASSERT_TRUE(join(table_));
    EXPECT_EQ(table_.origin(), parent);
    const uint64_t tree = table_.tree();
    expect_in_child([&] {
      table_.close_in_child();
      ASSERT_TRUE(join(table_));
      EXPECT_EQ(table_.tree(), tree);
    });
    EXPECT_EQ(table_.others(sys::monotonic_ns(), tree).members, 1u);
  });
}

TEST_F(GroupTableTreeTest, AProgramOfRunBeginsATree) {
  ASSERT_TRUE(join(table_));
  expect_in_child([&] {
    GroupTable executed;
    executed.begin_tree();
    ASSERT_TRUE(join(executed));
    EXPECT_NE(executed.tree(), table_.tree());
    EXPECT_EQ(executed.origin(), 0);
  });
}

TEST_F(GroupTableTreeTest, AnotherBudgetOfTheSameTreeIsCountedApart) {
  ASSERT_TRUE(join(table_));
  const Signpost published;
  const pid_t child = start_child([&] {
    GroupTable table;
    ASSERT_TRUE(table.open(folder_.path().c_str(), kKey, 7));
    EXPECT_EQ(table.tree(), table_.tree());
    table.own()->bytes = 1000;
    published.set();
    for (;;) pause();
  });
  published.wait();
  EXPECT_EQ(table_.others(sys::monotonic_ns(), table_.tree()).tree_bytes, 0);
  EXPECT_EQ(table_.others(sys::monotonic_ns(), 0).members, 1u);
  kill(child, SIGKILL);
  wait_for(child);
}

}  // namespace
}  // namespace oomguard::budget

// What the table of a group must survive: files and folders that are not what it expects.
#include <gtest/gtest.h>

#include "collector/probe/syscall.h"
#include "shim/budget/group_table.h"
#include "tests/shim/budget/harness.h"

namespace oomguard::budget {
namespace {

using test::Folder;
using test::write_file;

constexpr uint64_t kKey = 0xfedcba9876543210;
constexpr const char* kName = "groups/fedcba9876543210-4";
constexpr uid_t kNobody = 65534;

class HostileGroupTable : public testing::Test {
 protected:
  bool join() { return table_.open(folder_.path().c_str(), kKey); }
  void make_groups(mode_t mode = 0700) {
    ASSERT_EQ(mkdir((folder_ / "groups").c_str(), 0700), 0);
    ASSERT_EQ(chmod((folder_ / "groups").c_str(), mode), 0);
  }

  Folder folder_;
  GroupTable table_;
};

TEST_F(HostileGroupTable, AnEmptyOrTooSmallFileIsMadeLargeEnough) {
  make_groups();
  write_file(folder_ / kName, "x");
  ASSERT_TRUE(join());
  EXPECT_GE(std::filesystem::file_size(folder_ / kName), 128u * GroupTable::kSlots);
  EXPECT_EQ(table_.others(sys::monotonic_ns(), 0).members, 0u);
}

TEST_F(HostileGroupTable, RandomContentIsNeverTakenForMemory) {
  make_groups();
  unsigned seed = 1;
  for (int round = 0; round < 20; ++round) {
    std::string noise(128 * (GroupTable::kSlots + 1), '\0');
    for (char& c : noise) c = static_cast<char>(rand_r(&seed));
    write_file(folder_ / kName, noise);
    GroupTable table;
    static_cast<void>(table.open(folder_.path().c_str(), kKey));  // alone where no slot is free
    const GroupTable::Others others = table.others(sys::monotonic_ns(), 0);
    EXPECT_EQ(others.members, 0u);
    EXPECT_EQ(others.pending, 0);
    EXPECT_EQ(others.in_flight, 0);
    table.close_in_child();
  }
}

// Living processes whose slots hold nonsense: sums stay sums, and nothing turns negative.
TEST_F(HostileGroupTable, AbsurdNumbersDoNotOverflow) {
  ASSERT_TRUE(join());
  GroupTable::Slot* slot = table_.own();
  const int64_t now = sys::monotonic_ns();
  for (GroupTable::Slot* other = slot + 1; other < slot + 9; ++other) {
    other->pid = getppid();
    other->heartbeat_ns = now;
    other->pending = INT64_MAX;
    other->in_flight = INT64_MAX;
    other->growth = INT64_MAX;
    other->bytes = INT64_MAX;
    other->tree = table_.tree();
  }
  const GroupTable::Others others = table_.others(now, table_.tree());
  EXPECT_EQ(others.members, 8u);
  // The gate adds a few of these to a request; the sum has to stay a number.
  for (const int64_t sum :
       {others.pending, others.in_flight, others.growth, others.tree_bytes}) {
    EXPECT_GT(sum, int64_t{1} << 50);
    EXPECT_LT(sum, INT64_MAX / 4);
  }
  for (GroupTable::Slot* other = slot + 1; other < slot + 9; ++other) {
    other->pending = INT64_MIN;
    other->in_flight = -1;
  }
  EXPECT_EQ(table_.others(now, table_.tree()).pending, 0);
  EXPECT_EQ(table_.others(now, table_.tree()).in_flight, 0);
}

TEST_F(HostileGroupTable, NumbersThatNameNoProcessCountAsDead) {
  ASSERT_TRUE(join());
  GroupTable::Slot* slot = table_.own() + 1;
  slot->heartbeat_ns = sys::monotonic_ns();
  for (const int32_t pid : {-1, -getpid(), INT32_MIN, INT32_MAX}) {
    slot->pid = pid;
    EXPECT_EQ(table_.others(sys::monotonic_ns(), 0).members, 0u) << pid;
  }
}

TEST_F(HostileGroupTable, ALinkIsNotFollowed) {
  make_groups();
  write_file(folder_ / "precious", "untouched");
  ASSERT_EQ(symlink((folder_ / "precious").c_str(), (folder_ / kName).c_str()), 0);
  EXPECT_FALSE(join());
  EXPECT_EQ(std::filesystem::file_size(folder_ / "precious"), 9u);
}

TEST_F(HostileGroupTable, ALinkInPlaceOfTheFolderIsNotFollowed) {
  ASSERT_EQ(mkdir((folder_ / "elsewhere").c_str(), 0700), 0);
  ASSERT_EQ(symlink((folder_ / "elsewhere").c_str(), (folder_ / "groups").c_str()), 0);
  EXPECT_FALSE(join());
  EXPECT_TRUE(std::filesystem::is_empty(folder_ / "elsewhere"));
}

TEST_F(HostileGroupTable, AFolderInPlaceOfTheFileIsRefused) {
  make_groups();
  ASSERT_EQ(mkdir((folder_ / kName).c_str(), 0700), 0);
  EXPECT_FALSE(join());
}

TEST_F(HostileGroupTable, APipeInPlaceOfTheFileIsRefusedWithoutWaiting) {
  make_groups();
  ASSERT_EQ(mkfifo((folder_ / kName).c_str(), 0600), 0);
  EXPECT_FALSE(join());
}

TEST_F(HostileGroupTable, AFolderThatOthersMayWriteToIsRefused) {
  make_groups(0777);
  EXPECT_FALSE(join());
  EXPECT_FALSE(std::filesystem::exists(folder_ / kName));
}

TEST_F(HostileGroupTable, AFileOfSomebodyElseIsRefused) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can give a file away";
  make_groups();
  write_file(folder_ / kName, "");
  ASSERT_EQ(chown((folder_ / kName).c_str(), kNobody, kNobody), 0);
  EXPECT_FALSE(join());
  EXPECT_EQ(std::filesystem::file_size(folder_ / kName), 0u);
}

TEST_F(HostileGroupTable, AFolderOfSomebodyElseIsRefused) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can give a folder away";
  make_groups();
  ASSERT_EQ(chown((folder_ / "groups").c_str(), kNobody, kNobody), 0);
  EXPECT_FALSE(join());
  EXPECT_FALSE(std::filesystem::exists(folder_ / kName));
}

TEST_F(HostileGroupTable, AMissingFolderAndAPathThatIsTooLongAreRefused) {
  EXPECT_FALSE(table_.open((folder_ / "missing").c_str(), kKey));
  EXPECT_FALSE(table_.open("", kKey));
  EXPECT_FALSE(table_.open((folder_ / std::string(400, 'x')).c_str(), kKey));
}

// Pages of a hole on a full disk are a SIGBUS in the guarded program.
TEST_F(HostileGroupTable, TheFileHasItsBlocksWhenItIsMapped) {
  ASSERT_TRUE(join());
  struct stat status {};
  ASSERT_EQ(stat((folder_ / kName).c_str(), &status), 0);
  EXPECT_GE(status.st_blocks * 512, status.st_size);
}

}  // namespace
}  // namespace oomguard::budget

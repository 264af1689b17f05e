#include "collector/probe/process.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "tests/collector/probe/fixture_tree.h"

namespace oomguard::probe {
namespace {

TEST(ReadStatus, KnowsTheOwnProcess) {
  ProcessStatus status;
  ASSERT_TRUE(read_status(0, &status));
  EXPECT_EQ(status.pid, getpid());
  EXPECT_EQ(status.parent_pid, getppid());
  EXPECT_EQ(status.state, 'R');
  EXPECT_GT(status.start_ticks, 0u);
  EXPECT_GT(status.resident, status.resident_anonymous);
  EXPECT_GT(status.resident_anonymous, 0);
  ProcessStatus again;
  ASSERT_TRUE(read_status(getpid(), &again));
  EXPECT_EQ(again.start_ticks, status.start_ticks);
}

TEST(ReadStatus, CountsAnonymousMemory) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "shadow memory of the thread sanitizer is counted, too";
#endif
  constexpr size_t kSize = 40 << 20;
  ProcessStatus before;
  ProcessStatus after;
  ASSERT_TRUE(read_status(0, &before));
  void* block = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memset(block, 1, kSize);
  ASSERT_TRUE(read_status(0, &after));
  munmap(block, kSize);
  EXPECT_NEAR(static_cast<double>(after.resident_anonymous - before.resident_anonymous),
              double{kSize}, 2e6);
}

TEST(ReadStatus, ANameMayContainBlanksAndParentheses) {
  char before[16];
  prctl(PR_GET_NAME, before);
  prctl(PR_SET_NAME, "a) R 1 (b\nc");
  ProcessStatus status;
  ASSERT_TRUE(read_status(0, &status));
  prctl(PR_SET_NAME, before);
  EXPECT_STREQ(status.comm, "a) R 1 (b?c");
  EXPECT_EQ(status.parent_pid, getppid());
}

TEST(ReadStatus, AProcessThatEndedIsNotAnswered) {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  waitpid(child, nullptr, 0);
  ProcessStatus status;
  EXPECT_FALSE(read_status(child, &status));
}

class ListGroupTest : public testing::Test {
 protected:
  std::vector<int32_t> list(const std::string& text, size_t capacity = 8) {
    tree_.v2_mount();
    tree_.cgroup("0::/g\n");
    tree_.v2_group("/g", "500", 5);
    tree_.write("/sys/fs/cgroup/g/cgroup.procs", text);
    Config config;
    config.root = tree_.root();
    EXPECT_TRUE(probe_.open(config));
    std::vector<int32_t> pids(capacity);
    pids.resize(list_group(probe_, pids.data(), capacity));
    return pids;
  }
  FixtureTree tree_;
  Probe probe_;
};

TEST_F(ListGroupTest, GivesTheProcessesOfTheGroup) {
  EXPECT_EQ(list("12\n7\n100000\n"), (std::vector<int32_t>{12, 7, 100000}));
}

TEST_F(ListGroupTest, LeavesOutForeignNamespacesAndWhatDoesNotFit) {
  EXPECT_EQ(list("0\n12\n0\n13\n14\n", 2), (std::vector<int32_t>{12, 13}));
  EXPECT_TRUE(list("").empty());
}

TEST_F(ListGroupTest, OfTheLiveMachineContainsThisProcess) {
  ASSERT_TRUE(probe_.open(Config{}));
  std::vector<int32_t> pids(4096);
  pids.resize(list_group(probe_, pids.data(), pids.size()));
  if (pids.empty()) GTEST_SKIP() << "no control groups here";
  EXPECT_NE(std::find(pids.begin(), pids.end(), getpid()), pids.end());
}

}  // namespace
}  // namespace oomguard::probe

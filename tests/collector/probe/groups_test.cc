#include "collector/probe/groups.h"

#include <string>

#include "tests/collector/probe/fixture_tree.h"

namespace oomguard::probe {
namespace {

class GroupsTest : public testing::Test {
 protected:
  ~GroupsTest() override { close_groups(&probe_.state().tables[0]); }

  // Opens the probe on the tree and reads once.
  void open() {
    Config config;
    config.root = tree_.root();
    ASSERT_TRUE(probe_.open(config));
    ASSERT_TRUE(probe_.read(Depth::kFull, &reading_));
  }
  Level level(uint32_t index) { return reading_.levels[index]; }
  std::string path(uint32_t index) { return probe_.level_path(reading_.levels[index].path_index); }

  FixtureTree tree_;
  Probe probe_;
  Reading reading_;
};

TEST_F(GroupsTest, VersionTwoWithItsAncestors) {
  tree_.v2_mount();
  tree_.cgroup("0::/p/q/g\n");
  tree_.v2_root();
  tree_.v2_group("/p", "800000000", 70);
  tree_.v2_group("/p/q", "max", 60);
  tree_.v2_group("/p/q/g", "500000000", 50);
  open();
  ASSERT_EQ(count_of(reading_, LimitKind::kCgroupV2), 2) << "a group without limit is no level";
  EXPECT_EQ(level(0).limit, 500000000);
  EXPECT_EQ(level(0).usage, 50);
  EXPECT_EQ(path(0), "/sys/fs/cgroup/p/q/g");
  EXPECT_EQ(level(1).limit, 800000000);
  EXPECT_EQ(path(1), "/sys/fs/cgroup/p");
  EXPECT_FALSE(probe_.ancestors_hidden());
  EXPECT_EQ(probe_.faults(), 0u);
}

TEST_F(GroupsTest, MemoryHighBelowMaxIsTheLimit) {
  tree_.v2_mount();
  tree_.cgroup("0::/g\n");
  tree_.v2_group("/g", "500", 5, "400");
  open();
  EXPECT_EQ(level(0).limit, 400);
  EXPECT_TRUE(level(0).is_high);
}

TEST_F(GroupsTest, TheRealRootIsNoLevel) {
  tree_.v2_mount();
  tree_.cgroup("0::/\n");
  tree_.v2_root();
  open();
  EXPECT_EQ(count_of(reading_, LimitKind::kCgroupV2), 0);
  EXPECT_EQ(count_of(reading_, LimitKind::kMachine), 1);
  EXPECT_EQ(probe_.group_key(), 0u);
  EXPECT_FALSE(probe_.ancestors_hidden());
}

TEST_F(GroupsTest, ARemountedNamespaceShowsTheContainersGroupAtTheMountPoint) {
  tree_.v2_mount();
  tree_.cgroup("0::/\n");
  tree_.v2_group("", "3000", 30);
  open();
  EXPECT_EQ(level(0).limit, 3000);
  EXPECT_EQ(path(0), "/sys/fs/cgroup");
  EXPECT_TRUE(probe_.ancestors_hidden());
}

TEST_F(GroupsTest, AnUnremountedNamespaceIsSearchedForTheProcess) {
  tree_.v2_mount("/../..");
  tree_.cgroup("0::/\n");
  tree_.v2_root();
  tree_.v2_group("/p", "9000", 90);
  tree_.v2_group("/p/other", "10", 9);
  tree_.v2_group("/p/g", "3000", 30);
  tree_.write("/sys/fs/cgroup/p/other/cgroup.procs", "1\n");
  tree_.write("/sys/fs/cgroup/p/g/cgroup.procs", "1\n" + std::to_string(getpid()) + "\n");
  open();
  ASSERT_EQ(count_of(reading_, LimitKind::kCgroupV2), 2);
  EXPECT_EQ(path(0), "/sys/fs/cgroup/p/g");
  EXPECT_EQ(path(1), "/sys/fs/cgroup/p");
}

TEST_F(GroupsTest, AProcessMovedBesideItsUnremountedNamespaceIsFoundToo) {
  tree_.v2_mount("/../..");
  tree_.cgroup("0::/../h\n");
  tree_.v2_root();
  tree_.v2_group("/p/h", "3000", 30);
  tree_.write("/sys/fs/cgroup/p/h/cgroup.procs", std::to_string(getpid()) + "\n");
  open();
  EXPECT_EQ(path(0), "/sys/fs/cgroup/p/h");
}

TEST_F(GroupsTest, AnUnremountedNamespaceWithoutTheProcessFallsBackToTheMountPoint) {
  tree_.v2_mount("/../..");
  tree_.cgroup("0::/\n");
  tree_.v2_root();
  tree_.v2_group("/p/g", "3000", 30);
  open();
  EXPECT_EQ(count_of(reading_, LimitKind::kCgroupV2), 0);
  EXPECT_TRUE(probe_.ancestors_hidden());
}

TEST_F(GroupsTest, AProcessMovedOutOfItsNamespaceGetsTheMountPoint) {
  tree_.v2_mount();
  tree_.cgroup("0::/../h\n");
  tree_.v2_group("", "3000", 30);
  open();
  EXPECT_EQ(path(0), "/sys/fs/cgroup");
  EXPECT_TRUE(probe_.ancestors_hidden());
}

TEST_F(GroupsTest, AMissingGroupDirectoryGetsTheMountPoint) {
  tree_.v2_mount();
  tree_.cgroup("0::/gone (deleted)\n");
  tree_.v2_group("", "3000", 30);
  open();
  EXPECT_EQ(path(0), "/sys/fs/cgroup");
  EXPECT_TRUE(probe_.ancestors_hidden());
}

TEST_F(GroupsTest, VersionOneReadsTheTotals) {
  tree_.v1_mount();
  tree_.write("/sys/fs/cgroup/memory/release_agent", "\n");
  tree_.cgroup("5:cpu:/\n4:memory:/a/b\n0::/\n");
  tree_.v1_group("", 9223372036854771712, 900 * kMiB);
  tree_.v1_group("/a", 9223372036854771712, 500 * kMiB);
  tree_.v1_group("/a/b", 600 * kMiB, 100 * kMiB);
  open();
  ASSERT_EQ(count_of(reading_, LimitKind::kCgroupV1), 1);
  EXPECT_EQ(level(0).limit, 600 * kMiB);
  EXPECT_EQ(level(0).usage, 100 * kMiB);
  EXPECT_EQ(level(0).reclaimable, 7 * kMiB);
  EXPECT_EQ(path(0), "/sys/fs/cgroup/memory/a/b");
  EXPECT_FALSE(probe_.ancestors_hidden());
}

TEST_F(GroupsTest, ABindMountedContainerTellsTheLimitsAboveIt) {
  tree_.v1_mount("/docker/c1");
  tree_.cgroup("4:cpu,memory:/docker/c1/job\n");
  tree_.v1_group("", 9223372036854771712, 200 * kMiB, 300 * kMiB);
  tree_.v1_group("/job", 400 * kMiB, 100 * kMiB, 300 * kMiB);
  open();
  ASSERT_EQ(count_of(reading_, LimitKind::kCgroupV1), 2);
  EXPECT_EQ(path(0), "/sys/fs/cgroup/memory/job");
  EXPECT_EQ(level(0).limit, 400 * kMiB);
  EXPECT_EQ(path(1), "/sys/fs/cgroup/memory");
  EXPECT_EQ(level(1).limit, 300 * kMiB) << "hierarchical_memory_limit of a group out of sight";
  EXPECT_TRUE(probe_.ancestors_hidden());
}

TEST_F(GroupsTest, AContainersNameIsNotThePrefixOfAnother) {
  tree_.v1_mount("/docker/c1");
  tree_.cgroup("4:memory:/docker/c12\n");
  tree_.v1_group("", 300 * kMiB, 1);
  open();
  EXPECT_EQ(path(0), "/sys/fs/cgroup/memory");
}

TEST_F(GroupsTest, HybridUsesTheVersionThatHasTheMemoryController) {
  tree_.mounts(
      "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
      "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
  tree_.cgroup("4:memory:/m\n1:name=systemd:/memory\n0::/u\n");
  tree_.v1_group("/m", 100 * kMiB, 1);
  tree_.write("/sys/fs/cgroup/unified/u/cgroup.procs", "");
  open();
  EXPECT_EQ(path(0), "/sys/fs/cgroup/memory/m");
}

TEST_F(GroupsTest, AControllerWhoseNameContainsMemoryIsAnother) {
  tree_.v2_mount();
  tree_.cgroup("4:memory2,xmemory:/a\n0::/g\n");
  tree_.v2_group("/g", "500", 5);
  open();
  EXPECT_EQ(path(0), "/sys/fs/cgroup/g");
}

TEST_F(GroupsTest, AVersionOneParentThatDoesNotCountItsChildrenIsNoLimit) {
  tree_.v1_mount();
  tree_.cgroup("4:memory:/a/b\n");
  tree_.v1_group("/a", 50 * kMiB, 49 * kMiB);
  tree_.write("/sys/fs/cgroup/memory/a/memory.use_hierarchy", "0\n");
  tree_.v1_group("/a/b", 600 * kMiB, 100 * kMiB);
  open();
  EXPECT_EQ(count_of(reading_, LimitKind::kCgroupV1), 1);
}

TEST_F(GroupsTest, AnInnerGroupWithoutTheControllerIsPassedOver) {
  tree_.v2_mount();
  tree_.cgroup("0::/g/inner\n");
  tree_.v2_group("/g", "500", 5);
  tree_.write("/sys/fs/cgroup/g/inner/cgroup.procs", "");
  open();
  EXPECT_EQ(path(0), "/sys/fs/cgroup/g");
}

TEST_F(GroupsTest, EscapedBlanksAndOverlongLinesOfMountinfo) {
  tree_.mounts("40 1 0:9 / /over rw - overlay overlay rw,lowerdir=" + std::string(9000, 'x') +
               "\n33 23 0:30 / /my\\040mount rw - cgroup2 cgroup2 rw\n");
  tree_.cgroup("0::/g\n");
  tree_.write("/my mount/g/cgroup.procs", "");
  tree_.write("/my mount/g/memory.max", "77\n");
  tree_.write("/my mount/g/memory.current", "7\n");
  tree_.write("/my mount/g/memory.stat", "inactive_file 0\nactive_file 0\n");
  open();
  EXPECT_EQ(path(0), "/my mount/g");
  EXPECT_EQ(level(0).limit, 77);
}

TEST_F(GroupsTest, APathThatDoesNotFitIsNotCut) {
  tree_.v2_mount();
  tree_.cgroup("0::/" + std::string(200, 'a') + "/" + std::string(200, 'b') + "/" +
               std::string(200, 'c') + "\n");
  tree_.v2_group("", "3000", 30);
  open();
  EXPECT_EQ(path(0), "/sys/fs/cgroup");
  EXPECT_TRUE(probe_.ancestors_hidden());
}

TEST_F(GroupsTest, HostileTextsLeaveTheMachine) {
  const std::string binary("\x7f\x00\xff:\n::::\n\n0", 12);
  for (const std::string& text : {std::string(), std::string("0::"), std::string("\n\n"), binary,
                                  std::string(100000, 'z'), std::string("4:memory:relative\n")}) {
    tree_.cgroup(text);
    tree_.write("/proc/self/mountinfo", text);
    open();
    EXPECT_EQ(reading_.level_count, 1u);
    EXPECT_EQ(level(0).kind, LimitKind::kMachine);
    tree_.v2_mount();
    open();
    EXPECT_EQ(reading_.level_count, 1u);
  }
}

TEST_F(GroupsTest, DeepTreesKeepTheInnermostGroups) {
  tree_.v2_mount();
  std::string group;
  for (int i = 0; i < 30; ++i) {
    group += "/d" + std::to_string(i);
    tree_.v2_group(group, std::to_string(1000 - i), 1);
  }
  tree_.cgroup("0::" + group + "\n");
  open();
  EXPECT_LE(reading_.level_count, kMaxLevels);
  EXPECT_EQ(level(0).limit, 971);
  EXPECT_EQ(count_of(reading_, LimitKind::kMachine), 1);
  EXPECT_TRUE(probe_.ancestors_hidden());
}

}  // namespace
}  // namespace oomguard::probe

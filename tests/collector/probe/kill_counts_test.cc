#include "collector/probe/kill_counts.h"

#include <unistd.h>

#include <string_view>

#include "tests/collector/probe/fixture_tree.h"

namespace oomguard::probe {
namespace {

TEST(KillCounts, OfVersion2AreTheGroupsOwn) {
  FixtureTree tree;
  tree.write("/g/memory.events", "low 0\nhigh 0\nmax 9\noom 8\noom_kill 7\noom_group_kill 6\n");
  tree.write("/g/memory.events.local",
             "low 0\nhigh 0\nmax 35\noom 1\noom_kill 2\noom_group_kill 3\n");
  const KillCounts counts = read_kill_counts(tree.path("/g").c_str(), LimitKind::kCgroupV2, false);
  EXPECT_EQ(counts.kills, 2);
  EXPECT_EQ(counts.hits, 1);
  EXPECT_EQ(counts.group_kills, 3);
}

TEST(KillCounts, WithoutLocalOnesTheInnermostGroupsAreTakenAlone) {
  FixtureTree tree;
  tree.write("/g/memory.events", "low 0\nmax 9\noom 8\noom_kill 7\n");
  const std::string group = tree.path("/g");
  EXPECT_EQ(read_kill_counts(group.c_str(), LimitKind::kCgroupV2, false).kills, -1);
  const KillCounts inner = read_kill_counts(group.c_str(), LimitKind::kCgroupV2, true);
  EXPECT_EQ(inner.kills, 7);
  EXPECT_EQ(inner.hits, 8);
  EXPECT_EQ(inner.group_kills, -1);
}

TEST(KillCounts, OfVersion1) {
  FixtureTree tree;
  tree.v1_group("", 200 * kMiB, 0);
  const std::string group = tree.path("/sys/fs/cgroup/memory");
  tree.write("/sys/fs/cgroup/memory/memory.oom_control",
             "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n");
  const auto hits = [&](int64_t failcnt, Bytes most) {
    tree.write("/sys/fs/cgroup/memory/memory.failcnt", std::to_string(failcnt) + "\n");
    tree.write("/sys/fs/cgroup/memory/memory.max_usage_in_bytes", std::to_string(most) + "\n");
    return read_kill_counts(group.c_str(), LimitKind::kCgroupV1, true).hits;
  };
  EXPECT_EQ(read_kill_counts(group.c_str(), LimitKind::kCgroupV1, true).kills, 4);
  EXPECT_EQ(hits(0, 150 * kMiB), 0);
  EXPECT_EQ(hits(0, 200 * kMiB - 4096), 1);
  EXPECT_EQ(hits(29, 200 * kMiB), 30);
}

TEST(KillCounts, WhatIsNotThereIsUnknown) {
  for (const LimitKind kind : {LimitKind::kCgroupV1, LimitKind::kCgroupV2}) {
    const KillCounts counts = read_kill_counts("/nowhere", kind, true);
    EXPECT_EQ(counts.kills, -1);
    EXPECT_EQ(counts.hits, -1);
  }
  EXPECT_EQ(read_group_key("/nowhere"), 0u);
  EXPECT_EQ(read_machine_kills("/nowhere"), -1);
  EXPECT_EQ(read_pid_namespace("/nowhere"), 0u);
  BootId id;
  EXPECT_FALSE(read_boot_id("/nowhere", &id));
}

TEST(KillCounts, TheMachinesIsFoundInItsLongList) {
  FixtureTree tree;
  std::string text;
  for (int i = 0; i < 400; ++i) text += "counter_" + std::to_string(i) + " 5\n";
  tree.write("/proc/vmstat", text + "oom_kill 12\nswap_ra 0\n");
  EXPECT_EQ(read_machine_kills(tree.path("/proc").c_str()), 12);
}

TEST(KillCounts, GroupsAreReadFromTheInnermostOut) {
  FixtureTree tree;
  tree.v2_process_in_a_group(std::to_string(70 * kMiB));
  tree.write("/sys/fs/cgroup/p/g/memory.events.local", "oom 1\noom_kill 2\n");
  static constinit Probe probe;
  Config config;
  config.root = tree.root();
  ASSERT_TRUE(probe.open(config));
  GroupKills group;
  ASSERT_TRUE(read_group_kills(probe, 0, &group));
  EXPECT_EQ(std::string_view(group.path), "/sys/fs/cgroup/p/g");
  EXPECT_EQ(group.limit, 100 * kMiB) << "what kills, not memory.high";
  EXPECT_EQ(group.counts.kills, 2);
  EXPECT_EQ(group.key, read_group_key(tree.path("/sys/fs/cgroup/p/g").c_str()));
  ASSERT_TRUE(read_group_kills(probe, 1, &group));
  EXPECT_EQ(std::string_view(group.path), "/sys/fs/cgroup/p");
  EXPECT_EQ(group.limit, kUnlimited);
  EXPECT_EQ(group.counts.kills, -1);
  EXPECT_FALSE(read_group_kills(probe, 2, &group));
}

TEST(BootIds, AreReadOrRefused) {
  const auto parse = [](std::string_view text, BootId* id) {
    return parse_boot_id(text.data(), text.size(), id);
  };
  BootId id;
  ASSERT_TRUE(parse("0123456789ab-cdef-fedc-ba98-76543210\n", &id));
  EXPECT_EQ(id.words[0], 0x0123456789abcdefu);
  EXPECT_EQ(id.words[1], 0xfedcba9876543210u);
  BootId other;
  for (const char* text :
       {"", "-", "0123", "0123456789abcdeffedcba987654321", "g123456789abcdeffedcba9876543210"}) {
    EXPECT_FALSE(parse(text, &other)) << text;
  }
  ASSERT_TRUE(read_boot_id("/proc", &id));
  ASSERT_TRUE(read_boot_id("/proc", &other));
  EXPECT_EQ(id, other);
}

}  // namespace
}  // namespace oomguard::probe

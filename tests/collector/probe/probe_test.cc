#include "collector/probe/probe.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <limits.h>

#include <string>
#include <thread>
#include <vector>

#include "collector/probe/groups.h"
#include "tests/collector/probe/fixture_tree.h"

namespace oomguard::probe {
namespace {

// A Probe is a global of a preloaded library: no constructor may run for it.
constinit Probe g_probe;
static_assert(std::is_trivially_destructible_v<Probe>);

class ProbeTest : public testing::Test {
 protected:
  void SetUp() override {
    tree_.v2_process_in_a_group();
  }
  void open(Budget budget = {}) {
    Config config;
    config.root = tree_.root();
    config.budget = budget;
    ASSERT_TRUE(g_probe.open(config));
    faults_before_ = g_probe.faults();
  }
  Reading read(Depth depth) {
    Reading reading;
    EXPECT_TRUE(g_probe.read(depth, &reading));
    return reading;
  }
  Level group(Depth depth = Depth::kFull) { return level_of(read(depth), LimitKind::kCgroupV2); }
  uint64_t new_faults() const { return g_probe.faults() - faults_before_; }

  FixtureTree tree_;
  uint64_t faults_before_ = 0;
};

TEST_F(ProbeTest, CheapReadingIsALowerBoundOfTheFullOne) {
  tree_.stat_v2("/p/g", 10 * kMiB, 5 * kMiB);
  tree_.meminfo(1000 * kMiB, 600 * kMiB, 50 * kMiB);
  open();
  EXPECT_EQ(headroom(read(Depth::kCheap), 500).bytes, 40 * kMiB);
  EXPECT_EQ(headroom(read(Depth::kFull), 500).bytes, (40 + 15 + 25) * kMiB);
  EXPECT_EQ(new_faults(), 0u);
}

TEST_F(ProbeTest, ResidentTextIsNotReclaimableButNeverMoreThanTheCache) {
  tree_.stat_v2("/p/g", 10 * kMiB, 5 * kMiB);
  open();
  EXPECT_EQ(group().reclaimable, 15 * kMiB);
  EXPECT_EQ(group().text_held, 0);
  g_probe.set_resident_text(9 * kMiB);
  EXPECT_EQ(group().reclaimable, 6 * kMiB);
  EXPECT_EQ(group().text_held, 9 * kMiB);
  g_probe.set_resident_text(99 * kMiB);
  EXPECT_EQ(group().reclaimable, 0);
  EXPECT_EQ(group().text_held, 15 * kMiB);
  g_probe.set_resident_text(-5);
  EXPECT_EQ(group().reclaimable, 15 * kMiB);
}

TEST_F(ProbeTest, AGroupDoesNotGiveBackMoreThanItHolds) {
  tree_.stat_v2("/p/g", INT64_MAX, INT64_MAX);
  open();
  EXPECT_EQ(group().reclaimable, 60 * kMiB);
}

TEST_F(ProbeTest, AResizedGroupCountsAfterRefresh) {
  open();
  tree_.write("/sys/fs/cgroup/p/g/memory.max", "max\n");
  tree_.write("/sys/fs/cgroup/p/memory.max", std::to_string(200 * kMiB) + "\n");
  EXPECT_EQ(group().limit, 100 * kMiB);
  g_probe.refresh();
  EXPECT_EQ(group().limit, 200 * kMiB) << "the parent, whose usage was not read before";
  EXPECT_EQ(group().usage, 80 * kMiB);
}

TEST_F(ProbeTest, AMovedProcessGetsItsNewGroups) {
  open();
  const uint64_t key = g_probe.group_key();
  tree_.v2_group("/q", std::to_string(300 * kMiB), kMiB);
  tree_.cgroup("0::/q\n");
  g_probe.refresh();
  const Level level = group();
  EXPECT_EQ(level.limit, 300 * kMiB);
  EXPECT_STREQ(g_probe.level_path(level.path_index), "/sys/fs/cgroup/q");
  EXPECT_NE(g_probe.group_key(), key);
  tree_.cgroup("0::/p/g\n");
  g_probe.refresh();
  EXPECT_EQ(group().limit, 100 * kMiB);
  EXPECT_EQ(g_probe.group_key(), key);
}

TEST_F(ProbeTest, ARemovedGroupIsLeftOutAndCounted) {
  open();
  tree_.remove("/sys/fs/cgroup/p/g/memory.current");
  for (int fd = 3; fd < 1024; ++fd) ::close(fd);
  const Reading reading = read(Depth::kFull);
  EXPECT_EQ(count_of(reading, LimitKind::kCgroupV2), 0);
  EXPECT_EQ(count_of(reading, LimitKind::kMachine), 1);
  EXPECT_GT(new_faults(), 0u);
}

TEST_F(ProbeTest, TextsThatCannotBeNumbersLeaveTheLevelOut) {
  for (const char* text : {"", "-5\n", "many\n", "12 13\n", "\x01\x02\x03"}) {
    tree_.v2_group("/p/g", std::to_string(100 * kMiB), 60 * kMiB);
    open();
    tree_.write("/sys/fs/cgroup/p/g/memory.current", text);
    EXPECT_EQ(count_of(read(Depth::kCheap), LimitKind::kCgroupV2), 0) << text;
    EXPECT_EQ(new_faults(), 1u);
  }
  open();
  tree_.write("/sys/fs/cgroup/p/g/memory.current", "5\n");
  tree_.write("/sys/fs/cgroup/p/g/memory.stat", "inactive_file 5\nactive_fi");
  EXPECT_EQ(count_of(read(Depth::kFull), LimitKind::kCgroupV2), 0);
  EXPECT_EQ(count_of(read(Depth::kCheap), LimitKind::kCgroupV2), 1);
}

TEST_F(ProbeTest, AnUnreadableLimitKeepsTheLastOne) {
  open();
  tree_.write("/sys/fs/cgroup/p/g/memory.max", "");
  g_probe.refresh();
  EXPECT_EQ(group().limit, 100 * kMiB);
}

TEST_F(ProbeTest, NothingReadableIsNoReading) {
  tree_.remove("/proc");
  Config config;
  config.root = tree_.root();
  EXPECT_FALSE(g_probe.open(config));
  Reading reading;
  EXPECT_FALSE(g_probe.read(Depth::kFull, &reading));
  EXPECT_EQ(reading.level_count, 0u);
  config.root = "/dev/null";
  EXPECT_FALSE(g_probe.open(config));
  const std::string far(400, 'r');
  config.root = far.c_str();
  EXPECT_FALSE(g_probe.open(config));
}

TEST_F(ProbeTest, MachineIsReadAgainOnlyWhereItCouldBind) {
  tree_.v2_group("/p/g", std::to_string(100 * kMiB), 60 * kMiB);
  open();
  read(Depth::kCheap);
  tree_.meminfo(1000 * kMiB, 70 * kMiB, 0);
  Reading reading = read(Depth::kFull);
  EXPECT_EQ(level_of(reading, LimitKind::kMachine).usage, 930 * kMiB);
  tree_.meminfo(1000 * kMiB, 20 * kMiB, 0);
  reading = read(Depth::kCheap);  // 70 MiB is less than twice the group's 40: not trusted
  EXPECT_EQ(level_of(reading, LimitKind::kMachine).usage, 980 * kMiB);
  EXPECT_EQ(headroom(reading, 0).bytes, 20 * kMiB);
}

TEST_F(ProbeTest, MachineIsReadAgainWhenOld) {
  open();
  tree_.meminfo(1000 * kMiB, 20 * kMiB, 0);
  usleep(30'000);
  EXPECT_EQ(headroom(read(Depth::kCheap), 0).bytes, 20 * kMiB);
}

TEST_F(ProbeTest, SwapOfVersionTwoIsLimitedByEveryGroupAbove) {
  tree_.meminfo(1000 * kMiB, 600 * kMiB, 50 * kMiB);
  open();
  EXPECT_EQ(group().swap_room, 50 * kMiB) << "no swap files: only the machine limits";
  tree_.write("/sys/fs/cgroup/p/g/memory.swap.max", std::to_string(40 * kMiB) + "\n");
  tree_.write("/sys/fs/cgroup/p/g/memory.swap.current", std::to_string(10 * kMiB) + "\n");
  g_probe.refresh();
  EXPECT_EQ(group().swap_room, 30 * kMiB);
  EXPECT_EQ(group().swap_used, 10 * kMiB);
  tree_.write("/sys/fs/cgroup/p/memory.swap.max", std::to_string(12 * kMiB) + "\n");
  tree_.write("/sys/fs/cgroup/p/memory.swap.current", std::to_string(10 * kMiB) + "\n");
  g_probe.refresh();
  EXPECT_EQ(group().swap_room, 2 * kMiB);
  tree_.write("/sys/fs/cgroup/p/memory.swap.max", "0\n");
  g_probe.refresh();
  EXPECT_EQ(group().swap_room, 0);
  EXPECT_EQ(level_of(read(Depth::kFull), LimitKind::kMachine).swap_room, 50 * kMiB);
}

TEST_F(ProbeTest, SwapOfVersionOneIsWhatTheSumLeaves) {
  tree_.v1_mount();
  tree_.cgroup("4:memory:/g\n");
  tree_.v1_group("/g", 100 * kMiB, 60 * kMiB);
  tree_.meminfo(1000 * kMiB, 600 * kMiB, 500 * kMiB);
  Bytes swap_used = 0;
  const auto swap_room = [&](Bytes limit, Bytes usage) {
    const std::string group = "/sys/fs/cgroup/memory/g/";
    tree_.write(group + "memory.memsw.limit_in_bytes", std::to_string(limit) + "\n");
    tree_.write(group + "memory.memsw.usage_in_bytes", std::to_string(usage) + "\n");
    open();
    const Level level = level_of(read(Depth::kFull), LimitKind::kCgroupV1);
    swap_used = level.swap_used;
    return level.swap_room;
  };
  EXPECT_EQ(swap_room(9223372036854771712, 60 * kMiB), 500 * kMiB);
  EXPECT_EQ(swap_room(100 * kMiB, 60 * kMiB), 0) << "equal limits: no swap at all";
  EXPECT_EQ(swap_room(130 * kMiB, 60 * kMiB), 30 * kMiB);
  EXPECT_EQ(swap_room(130 * kMiB, 80 * kMiB), 10 * kMiB) << "20 MiB are swapped already";
  EXPECT_EQ(swap_used, 20 * kMiB);
}

TEST_F(ProbeTest, AddressSpaceAndDataLimitsWhereTheyAreSet) {
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_DATA, &before), 0);
  open();
  EXPECT_EQ(count_of(read(Depth::kCheap), LimitKind::kRlimitData), 0);
  const rlimit data{size_t{1} << 40, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_DATA, &data), 0);
  g_probe.refresh();
  const Level level = level_of(read(Depth::kCheap), LimitKind::kRlimitData);
  EXPECT_EQ(level.limit, Bytes{1} << 40);
  EXPECT_EQ(level.usage, 700 * sysconf(_SC_PAGESIZE));
  ASSERT_EQ(setrlimit(RLIMIT_DATA, &before), 0);
  g_probe.refresh();
  EXPECT_EQ(count_of(read(Depth::kCheap), LimitKind::kRlimitData), 0);
}

TEST_F(ProbeTest, BudgetIsASizeAgainstTheProcessOrItsTree) {
  open(Budget{50 * kMiB, 0});
  Level level = level_of(read(Depth::kFull), LimitKind::kBudget);
  EXPECT_EQ(level.limit, 50 * kMiB);
  const Bytes own = (900 - 500) * sysconf(_SC_PAGESIZE) + 40 * 1024;
  EXPECT_EQ(level.usage, own);
  g_probe.set_others_usage(30 * kMiB);
  level = level_of(read(Depth::kCheap), LimitKind::kBudget);
  EXPECT_EQ(level.usage, own + 30 * kMiB);
  // They count a part of this process's memory.
  g_probe.set_others_usage(-kMiB);
  EXPECT_EQ(level_of(read(Depth::kCheap), LimitKind::kBudget).usage, own - kMiB);
  g_probe.set_others_usage(-1024 * kMiB);
  EXPECT_EQ(level_of(read(Depth::kCheap), LimitKind::kBudget).usage, 0);
}

TEST_F(ProbeTest, AdoptsLimitsOfAProbeOfTheSameGroups) {
  open(Budget{});
  static constinit Probe fresh;
  Config config;
  config.root = tree_.root();
  ASSERT_TRUE(fresh.open(config));
  tree_.write("/sys/fs/cgroup/p/g/memory.max", "41943040\n");
  fresh.refresh();
  ASSERT_TRUE(g_probe.adopt_limits(fresh));
  EXPECT_EQ(read(Depth::kCheap).levels[0].limit, 40 * kMiB);
  static constinit Probe closed;
  EXPECT_FALSE(closed.adopt_limits(fresh)) << "its groups are others";
}

TEST_F(ProbeTest, BudgetIsAShareOfTheSmallestLimit) {
  open(Budget{kUnlimited, 250});
  EXPECT_EQ(level_of(read(Depth::kCheap), LimitKind::kBudget).limit, 25 * kMiB);
  tree_.write("/sys/fs/cgroup/p/g/memory.max", "max\n");
  g_probe.refresh();
  EXPECT_EQ(level_of(read(Depth::kCheap), LimitKind::kBudget).limit, 250 * kMiB);
}

TEST_F(ProbeTest, CountsKillsAndNamesGroupsThatDieWhole) {
  open();
  EXPECT_EQ(g_probe.oom_kills(), -1);
  EXPECT_FALSE(g_probe.kills_whole_group());
  tree_.write("/sys/fs/cgroup/p/g/memory.events", "oom 1\noom_kill 2\noom_group_kill 0\n");
  tree_.write("/sys/fs/cgroup/p/memory.events.local", "oom_kill 3\n");
  tree_.write("/sys/fs/cgroup/p/g/memory.oom.group", "1\n");
  EXPECT_EQ(g_probe.oom_kills(), 5);
  EXPECT_TRUE(g_probe.kills_whole_group());
}

TEST_F(ProbeTest, GoesOnAfterTheProgramClosedEverything) {
  open();
  const Reading before = read(Depth::kFull);
  for (int fd = 3; fd < 1024; ++fd) ::close(fd);
  const Reading after = read(Depth::kFull);
  EXPECT_EQ(after.level_count, before.level_count);
  EXPECT_EQ(headroom(after, 0).bytes, headroom(before, 0).bytes);
  g_probe.refresh();
  EXPECT_EQ(new_faults(), 0u);
}

TEST_F(ProbeTest, DoesNotBelieveNumbersThatTheProgramReused) {
  tree_.write("/lie", "1\n");
  open();
  const int lie = ::open(tree_.path("/lie").c_str(), O_RDONLY);
  for (int fd = 200; fd < 240; ++fd) dup2(lie, fd);
  EXPECT_EQ(group().usage, 60 * kMiB);
  EXPECT_EQ(group().limit, 100 * kMiB);
  for (int fd = 200; fd < 240; ++fd) ::close(fd);
  ::close(lie);
}

TEST_F(ProbeTest, OpeningAgainLeavesNoDescriptorsBehind) {
  const auto count = [] {
    int open_numbers = 0;
    for (int fd = 0; fd < 1024; ++fd) open_numbers += fcntl(fd, F_GETFD) != -1;
    return open_numbers;
  };
  open();
  read(Depth::kFull);
  const int once = count();
  for (int i = 0; i < 5; ++i) {
    open();
    read(Depth::kFull);
  }
  EXPECT_EQ(count(), once);
}

TEST_F(ProbeTest, WorksOnTheSmallestStack) {
  open();
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  ASSERT_EQ(pthread_attr_setstacksize(&attributes, static_cast<size_t>(PTHREAD_STACK_MIN)), 0);
  pthread_t thread;
  const auto body = [](void*) -> void* {
    Reading reading;
    g_probe.refresh();
    return g_probe.read(Depth::kFull, &reading) ? &g_probe : nullptr;
  };
  ASSERT_EQ(pthread_create(&thread, &attributes, body, nullptr), 0);
  void* result = nullptr;
  pthread_join(thread, &result);
  EXPECT_EQ(result, &g_probe);
}

TEST_F(ProbeTest, ReadersSeeWholeGroupsWhileTheProcessIsMoved) {
  tree_.v2_group("/q", std::to_string(300 * kMiB), 7 * kMiB);
  open();
  std::atomic<bool> stop{false};
  std::atomic<int> torn{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      Reading reading;
      while (!stop) {
        if (!g_probe.read(Depth::kFull, &reading)) ++torn;
        const Level level = level_of(reading, LimitKind::kCgroupV2);
        const bool first = level.limit == 100 * kMiB && level.usage == 60 * kMiB;
        const bool second = level.limit == 300 * kMiB && level.usage == 7 * kMiB;
        torn += !first && !second;
      }
    });
  }
  for (int i = 0; i < 200; ++i) {
    const std::string next = tree_.path("/proc/self/next");
    tree_.write("/proc/self/next", i % 2 == 0 ? "0::/q\n" : "0::/p/g\n");
    std::filesystem::rename(next, tree_.path("/proc/self/cgroup"));
    g_probe.state().cgroup.close();  // the kernel's file changes in place; this one was replaced
    g_probe.refresh();
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(torn, 0);
}

TEST(LevelPath, IsNeverNull) {
  EXPECT_STREQ(g_probe.level_path(kNoPath), "");
  EXPECT_STREQ(g_probe.level_path(500), "");
}

}  // namespace
}  // namespace oomguard::probe

#include "collector/record/ending.h"

#include <gtest/gtest.h>
#include <signal.h>

#include "collector/probe/kill_counts.h"
#include "collector/record/kill_counts.h"
#include "collector/record/reader.h"
#include "tests/collector/probe/fixture_tree.h"
#include "tests/collector/record/fixture.h"

namespace oomguard::record {
namespace {

constexpr const char* kEvents = "/sys/fs/cgroup/p/g/memory.events.local";
constexpr const char* kBoot = "/proc/sys/kernel/random/boot_id";

// A process in /p/g, its counters as the library writes them.
class EndingTest : public testing::Test {
 protected:
  void SetUp() override {
    tree_.v2_process_in_a_group();
    tree_.write(kEvents, "oom 1\noom_kill 2\noom_group_kill 0\n");
    tree_.write(kBoot, "0123456789ab-cdef-fedc-ba98-76543210\n");
    tree_.write("/proc/vmstat", "oom_kill 5\n");
    probe::Config config;
    config.root = tree_.root();
    ASSERT_TRUE(probe_.open(config));
    FlightBytes flight = make_flight();
    put_kill_counts(&flight->header, probe_, true);
    flight.write(path_);
  }
  std::unique_ptr<FlightHeader> header() {
    auto header = read_header(path_);
    EXPECT_TRUE(header);
    return std::move(*header);
  }
  void look(const Ending& ending = {}) {
    const auto before = header();
    put_end(before.get(), ending, tree_.root());
    written_ = write_end(path_, *before);
  }

  probe::FixtureTree tree_;
  TemporaryFolder folder_;
  std::string path_ = folder_.path() + "/1-2.flight";
  probe::Probe probe_;
  bool written_ = false;
};

TEST_F(EndingTest, CountersOfARunningProcessAreInItsFile) {
  const auto there = header();
  ASSERT_EQ(there->group_count, 2u);
  EXPECT_STREQ(there->groups[0].path, "/sys/fs/cgroup/p/g");
  EXPECT_EQ(there->groups[0].limit_bytes, 100 * kMiB);
  EXPECT_EQ(there->groups[0].seen.kills, 2);
  EXPECT_EQ(there->groups[0].seen.hits, 1);
  EXPECT_EQ(there->groups[1].seen.kills, -1);
  EXPECT_EQ(there->machine_kills, 5);
  EXPECT_EQ(there->boot_id[0], 0x0123456789abcdefu);
  EXPECT_EQ(there->end.at_realtime_ns.load(), 0);
}

TEST_F(EndingTest, ALookAfterTheEndStays) {
  tree_.write(kEvents, "oom 2\noom_kill 3\noom_group_kill 0\n");
  tree_.write("/proc/vmstat", "oom_kill 6\n");
  look({true, SIGKILL, 77, "a name that is far too long"});
  EXPECT_TRUE(written_);
  tree_.write(kEvents, "oom 9\noom_kill 9\noom_group_kill 9\n");
  look({true, SIGTERM, 0, ""});
  EXPECT_FALSE(written_) << "what the counters say later is about others";
  const auto there = header();
  EXPECT_EQ(there->groups[0].end.kills, 3);
  EXPECT_EQ(there->end.machine_kills, 6);
  EXPECT_EQ(there->end.wait_status, SIGKILL);
  EXPECT_EQ(there->end.sender_pid, 77);
  EXPECT_STREQ(there->end.sender_name, "a name that is ");
  EXPECT_EQ(there->end.boot_id[1], 0xfedcba9876543210u);
}

TEST_F(EndingTest, AnExitStatusReplacesALookWithoutOne) {
  look();
  EXPECT_TRUE(written_);
  look();
  EXPECT_FALSE(written_);
  look({true, SIGKILL, 0, ""});
  EXPECT_TRUE(written_);
  EXPECT_EQ(header()->end.has_wait_status, 1u);
}

TEST_F(EndingTest, AGroupThatWasMadeAnewTellsNothing) {
  tree_.remove("/sys/fs/cgroup/p/g");
  tree_.write("/sys/fs/cgroup/p/other", "");  // takes the number of the directory, perhaps
  std::filesystem::create_directory(tree_.path("/sys/fs/cgroup/p/between"));
  tree_.write(kEvents, "oom 9\noom_kill 9\noom_group_kill 0\n");
  if (probe::read_group_key(tree_.path("/sys/fs/cgroup/p/g").c_str()) == header()->groups[0].key) {
    GTEST_SKIP() << "this file system gave the new directory the number of the old one";
  }
  look();
  EXPECT_EQ(header()->groups[0].end.kills, -1);
}

TEST_F(EndingTest, WhatCannotBeWrittenIsLeft) {
  const auto there = header();
  put_end(there.get(), {}, tree_.root());
  EXPECT_FALSE(write_end(folder_.path() + "/none.flight", *there));
  std::filesystem::create_symlink(path_, folder_.path() + "/link.flight");
  EXPECT_FALSE(write_end(folder_.path() + "/link.flight", *there));
}

}  // namespace
}  // namespace oomguard::record

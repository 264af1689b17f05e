// The probe on a memory group of this machine: what the kernel really answers.
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "collector/probe/process.h"
#include "tests/collector/probe/fixture_tree.h"

namespace oomguard::probe {
namespace {

constexpr Bytes kLimit = 200 * kMiB;

// A child group of the group that runs the tests, of either version; removed with the object.
class MemoryGroup {
 public:
  MemoryGroup() {
    own_ = own_directory();
    path_ = own_ + "/oomguard_probe_test." + std::to_string(getpid());
    if (mkdir(path_.c_str(), 0755) != 0) {
      path_.clear();
    } else if (!limit(kLimit)) {
      rmdir(path_.c_str());
      path_.clear();
    }
  }
  ~MemoryGroup() {
    for (int i = 0; i < 100 && !path_.empty() && access(path_.c_str(), F_OK) == 0; ++i) {
      if (rmdir(path_.c_str()) != 0) usleep(20'000);
    }
  }
  bool made() const { return !path_.empty(); }
  const std::string& path() const { return path_; }
  LimitKind kind() const { return kind_; }
  bool limit(Bytes bytes) const {
    const bool is_v1 = kind_ == LimitKind::kCgroupV1;
    return write(path_, is_v1 ? "memory.limit_in_bytes" : "memory.max", bytes);
  }
  bool enter() const { return write(path_, "cgroup.procs", getpid()); }
  // Back to the group around it, and away with this one.
  bool leave_and_remove() const {
    if (!write(own_, "cgroup.procs", getpid())) return false;
    for (int i = 0; i < 100 && rmdir(path_.c_str()) != 0; ++i) usleep(20'000);
    return access(path_.c_str(), F_OK) != 0;
  }

 private:
  // Not created where it is missing: a directory that is no memory group must not pass for one.
  static bool write(const std::string& directory, const char* file, Bytes value) {
    const int fd = ::open((directory + "/" + file).c_str(), O_WRONLY);
    if (fd < 0) return false;
    const std::string text = std::to_string(value);
    const bool good = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    ::close(fd);
    return good;
  }
  std::string own_directory() {
    std::ifstream cgroup("/proc/self/cgroup");
    std::string unified;
    for (std::string line; std::getline(cgroup, line);) {
      const size_t at = line.find(":memory:");
      if (at != std::string::npos) return "/sys/fs/cgroup/memory" + line.substr(at + 8);
      if (line.rfind("0::/", 0) == 0) unified = line.substr(4);
    }
    kind_ = LimitKind::kCgroupV2;
    return unified.empty() ? "/sys/fs/cgroup" : "/sys/fs/cgroup/" + unified;
  }
  std::string own_;
  std::string path_;
  LimitKind kind_ = LimitKind::kCgroupV1;
};

class LiveGroupTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!group_.made()) GTEST_SKIP() << "no memory group can be made here";
  }
  // Runs `body` in a child process that lives in the group. A false or a death fails the test.
  template <typename Body>
  void run_inside(Body body) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(30);
      _exit(group_.enter() && body() ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  MemoryGroup group_;
};

// Prints what was expected where it does not hold; for code in a child process.
bool holds(bool value, const char* text) {
  if (!value) fprintf(stderr, "does not hold: %s\n", text);
  return value;
}
#define OOMGUARD_HOLDS(condition) holds(condition, #condition)

TEST_F(LiveGroupTest, LimitUsageAndResize) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "shadow memory of the thread sanitizer is charged, too";
#endif
  run_inside([&] {
    static Probe probe;
    Reading reading;
    if (!probe.open(Config{}) || !probe.read(Depth::kFull, &reading)) return false;
    const Level before = reading.levels[0];
    std::vector<char> block(50 * kMiB, 1);
    if (!probe.read(Depth::kCheap, &reading)) return false;
    const Level after = reading.levels[0];
    const bool resized = group_.limit(2 * kLimit);
    probe.refresh();
    return probe.read(Depth::kCheap, &reading) && OOMGUARD_HOLDS(resized) &&
           OOMGUARD_HOLDS(before.kind == group_.kind()) &&
           OOMGUARD_HOLDS(before.limit == kLimit) &&
           OOMGUARD_HOLDS(after.usage - before.usage > 49 * kMiB) &&
           OOMGUARD_HOLDS(after.usage - before.usage < 54 * kMiB) &&
           OOMGUARD_HOLDS(reading.levels[0].limit == 2 * kLimit) &&
           OOMGUARD_HOLDS(probe.level_path(after.path_index) == group_.path()) &&
           OOMGUARD_HOLDS(probe.oom_kills() == 0) && OOMGUARD_HOLDS(probe.faults() == 0);
  });
}

TEST_F(LiveGroupTest, PageCacheIsReclaimable) {
  struct statfs where;
  ASSERT_EQ(statfs("/var/tmp", &where), 0);
  if (where.f_type == TMPFS_MAGIC || where.f_type == OVERLAYFS_SUPER_MAGIC) {
    GTEST_SKIP() << "files of /var/tmp may be memory themselves here";
  }
  run_inside([&] {
    const std::string name = "/var/tmp/oomguard_probe_test." + std::to_string(getpid());
    {
      const std::vector<char> block(kMiB, 'x');
      std::ofstream out(name, std::ios::binary);
      for (int i = 0; i < 60; ++i) out.write(block.data(), kMiB);
    }
    static Probe probe;
    Reading reading;
    const bool read = probe.open(Config{}) && probe.read(Depth::kFull, &reading);
    unlink(name.c_str());
    return OOMGUARD_HOLDS(read) && OOMGUARD_HOLDS(reading.levels[0].usage > 55 * kMiB) &&
           OOMGUARD_HOLDS(reading.levels[0].reclaimable > 50 * kMiB) &&
           OOMGUARD_HOLDS(headroom(reading, 0).bytes > kLimit - 20 * kMiB);
  });
}

TEST_F(LiveGroupTest, AMoveIsNoticed) {
  static Probe probe;
  ASSERT_TRUE(probe.open(Config{}));
  const uint64_t outside = probe.group_key();
  run_inside([&] {
    probe.refresh();  // descriptors of the parent: /proc/self was opened before the fork
    static Probe own;
    if (!own.open(Config{})) return false;
    int32_t pids[4];
    const size_t count = list_group(own, pids, 4);
    return OOMGUARD_HOLDS(own.group_key() != outside) && OOMGUARD_HOLDS(count == 1) &&
           OOMGUARD_HOLDS(pids[0] == getpid());
  });
  const pid_t child = fork();
  if (child == 0) {
    static Probe own;
    Reading reading;
    bool good = own.open(Config{}) && own.group_key() == outside;
    good = good && group_.enter();
    own.refresh();
    good = good && own.read(Depth::kCheap, &reading) && reading.levels[0].limit == kLimit;
    _exit(good ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(LiveGroupTest, ARemovedGroupIsLeftOutUntilTheNextRefresh) {
  run_inside([&] {
    static Probe probe;
    Reading reading;
    if (!probe.open(Config{}) || !probe.read(Depth::kCheap, &reading)) return false;
    const uint64_t inside = probe.group_key();
    const bool had_limit = reading.levels[0].limit == kLimit;
    if (!OOMGUARD_HOLDS(group_.leave_and_remove())) return false;
    const bool read = probe.read(Depth::kFull, &reading);
    const bool left_out = read && reading.levels[0].limit != kLimit;
    const uint64_t faults = probe.faults();
    probe.refresh();
    return OOMGUARD_HOLDS(had_limit) && OOMGUARD_HOLDS(left_out) && OOMGUARD_HOLDS(faults > 0) &&
           OOMGUARD_HOLDS(probe.group_key() != inside) &&
           OOMGUARD_HOLDS(probe.read(Depth::kFull, &reading)) &&
           OOMGUARD_HOLDS(probe.faults() == faults);
  });
}

TEST(LiveMachine, AnswersWithMemAvailable) {
  static Probe probe;
  ASSERT_TRUE(probe.open(Config{}));
  Reading reading;
  ASSERT_TRUE(probe.read(Depth::kFull, &reading));
  const Level machine = level_of(reading, LimitKind::kMachine);
  EXPECT_GT(machine.limit, 100 * kMiB);
  EXPECT_GT(machine.usage, 0);
  EXPECT_LT(machine.usage, machine.limit);
}

TEST(LiveMachine, AnotherProcessCanBeProbed) {
  static Probe probe;
  Config config;
  config.pid = getppid();
  ASSERT_TRUE(probe.open(config));
}

}  // namespace
}  // namespace oomguard::probe

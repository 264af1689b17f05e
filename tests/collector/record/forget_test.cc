#include "collector/record/forget.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/collector/record/fixture.h"

namespace oomguard::record {
namespace {

namespace fs = std::filesystem;

constexpr int kGone = 0x3ffffff;  // above every pid_max

class Forget : public testing::Test {
 protected:
  Forget() { fs::create_directory(folder_.path() + "/sessions"); }
  std::string path(const std::string& name) { return folder_.path() + "/sessions/" + name; }
  std::string add(int seconds, int pid, uint64_t refusals, uint64_t warnings = 0) {
    auto flight = make_flight();
    flight->header.pid = pid;
    flight->header.refusals = refusals;
    flight->header.reread.times = warnings;
    const std::string name = std::to_string(seconds) + "-" + std::to_string(pid) + ".flight";
    flight.write(path(name));
    return path(name);
  }
  TemporaryFolder folder_;
};

TEST_F(Forget, KeepsTheNewestOfThoseInWhichNothingHappened) {
  const std::string oldest = add(1000, kGone, 0);
  const std::string newest = add(3000, kGone, 0);
  const std::string middle = add(2000, kGone, 0);
  EXPECT_EQ(forget_uneventful(folder_.path().c_str(), 2, INT64_MAX), 1u);
  EXPECT_FALSE(fs::exists(oldest));
  EXPECT_TRUE(fs::exists(middle));
  EXPECT_TRUE(fs::exists(newest));
}

TEST_F(Forget, KeepsNoMoreBytesThanItMay) {
  const std::string old = add(1000, kGone, 0);
  const std::string newer = add(2000, kGone, 0);
  constexpr auto kOne = static_cast<int64_t>(kSmallestFlightBytes);
  EXPECT_EQ(forget_uneventful(folder_.path().c_str(), 9, kOne + kOne / 2), 1u);
  EXPECT_FALSE(fs::exists(old));
  EXPECT_TRUE(fs::exists(newer));
}

TEST_F(Forget, NeverTouchesRefusalsWarningsRunningProcessesAndOtherFiles) {
  const std::string refused = add(1000, kGone, 1);
  const std::string warned = add(1002, kGone, 0, 1);
  const std::string running = add(1001, getpid(), 0);
  for (const char* name : {"1-9.flight", "x.flight", "1-2.flight.bak"}) {
    std::ofstream(path(name)) << "x";
  }
  EXPECT_EQ(forget_uneventful(folder_.path().c_str(), 0, INT64_MAX), 0u);
  EXPECT_TRUE(fs::exists(refused));
  EXPECT_TRUE(fs::exists(warned));
  EXPECT_TRUE(fs::exists(running));
  EXPECT_TRUE(fs::exists(path("1-9.flight"))) << "no flight file by its content";
}

TEST_F(Forget, AnAbsentFolderHasNothing) {
  EXPECT_EQ(forget_uneventful((folder_.path() + "/none").c_str(), 0, INT64_MAX), 0u);
}

}  // namespace
}  // namespace oomguard::record

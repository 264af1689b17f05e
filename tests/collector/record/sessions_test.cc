#include "collector/record/sessions.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ctime>
#include <filesystem>
#include <fstream>
#include <string>

#include "collector/record/reader.h"
#include "collector/record/writer.h"
#include "tests/collector/record/fixture.h"

namespace oomguard::record {
namespace {

namespace fs = std::filesystem;

class Sessions : public testing::Test {
 protected:
  Sessions() { fs::create_directory(folder_.path() + "/sessions"); }
  std::string path(const std::string& name) { return folder_.path() + "/sessions/" + name; }
  void add(int64_t seconds, int pid, uint64_t refusals, EndState state) {
    auto flight = make_flight();
    flight->header.pid = pid;
    flight->header.refusals = refusals;
    flight->header.end_state = static_cast<uint32_t>(state);
    flight.write(path(std::to_string(seconds) + "-" + std::to_string(pid) + ".flight"));
  }
  size_t count() {
    const auto sessions = list_sessions(folder_.path());
    return sessions ? sessions->size() : 0;
  }
  TemporaryFolder folder_;
  const int64_t now_ = ::time(nullptr);
};

TEST_F(Sessions, ListsTheNewestFirst) {
  add(1000, 7, 1, EndState::kClean);
  add(3000, 8, 1, EndState::kClean);
  add(2000, 9, 1, EndState::kClean);
  const auto sessions = list_sessions(folder_.path());
  ASSERT_TRUE(sessions);
  ASSERT_EQ(sessions->size(), 3u);
  EXPECT_EQ((*sessions)[0].name, "3000-8");
  EXPECT_EQ((*sessions)[0].pid, 8);
  EXPECT_EQ((*sessions)[2].start_seconds, 1000);
}

TEST_F(Sessions, IgnoresWhatIsNotNamedLikeOne) {
  for (const char* name : {"x.flight", "1-2.flight.bak", "-1-2.flight", "1-0.flight", ".flight",
                           "1-2-33.flight", "1-2-x.flight", "99999999999999999999-1.flight"}) {
    std::ofstream(path(name)) << "x";
  }
  fs::create_directory(path("5-6.flight"));
  fs::create_symlink("/etc/passwd", path("7-8.flight"));
  EXPECT_EQ(count(), 0u);
  std::ofstream(path("1-2-3.flight")) << "x";
  EXPECT_EQ(count(), 1u);
}

TEST_F(Sessions, AnAbsentFolderHasNone) {
  const auto sessions = list_sessions(folder_.path() + "/nowhere");
  ASSERT_TRUE(sessions);
  EXPECT_TRUE(sessions->empty());
}

TEST_F(Sessions, PruningRemovesTheOldAndKeepsTheYoung) {
  add(now_ - 31 * 86400, 7, 1, EndState::kClean);
  add(now_ - 29 * 86400, 8, 1, EndState::kClean);
  EXPECT_EQ(prune_sessions(folder_.path(), {}).files, 1u);
  EXPECT_EQ(count(), 1u);
}

TEST_F(Sessions, PruningKeepsNoMoreThanItMay) {
  for (int i = 1; i <= 5; ++i) add(now_ - i, i, 1, EndState::kEndedByRefusal);
  EXPECT_EQ(prune_sessions(folder_.path(), {2, 30, INT64_MAX}).files, 3u);
  const auto sessions = list_sessions(folder_.path());
  ASSERT_TRUE(sessions);
  ASSERT_EQ(sessions->size(), 2u);
  EXPECT_EQ((*sessions)[0].pid, 1);
  EXPECT_EQ((*sessions)[1].pid, 2);
}

TEST_F(Sessions, PruningRemovesEndedSessionsWithoutARefusalButNoUnexplainedDeath) {
  add(now_ - 1, 7, 0, EndState::kExecuted);
  add(now_ - 2, 8, 0, EndState::kRunning);
  EXPECT_EQ(prune_sessions(folder_.path(), {}).files, 1u);
  const auto sessions = list_sessions(folder_.path());
  ASSERT_TRUE(sessions);
  ASSERT_EQ(sessions->size(), 1u);
  EXPECT_EQ((*sessions)[0].pid, 8);
}

TEST_F(Sessions, PruningKeepsNoMoreBytesThanItMay) {
  for (int i = 1; i <= 4; ++i) add(now_ - i, i, 1, EndState::kEndedByRefusal);
  constexpr auto kOne = static_cast<int64_t>(kSmallestFlightBytes);
  // What was never used of them does not count; 700 KiB are in use at the most.
  EXPECT_EQ(prune_sessions(folder_.path(), {200, 30, 4 * kOne}).files, 0u);
  EXPECT_EQ(prune_sessions(folder_.path(), {200, 30, 0}).files, 4u);
}

TEST_F(Sessions, PruningGivesBackWhatWasNeverUsed) {
  fs::permissions(folder_.path() + "/sessions", fs::perms::owner_all);
  const pid_t child = ::fork();
  if (child == 0) {
    char own[kMaxSessionPath];
    int error = 0;
    FlightFile* file = create(folder_.path().c_str(), {}, own, &error);
    fill_refusal(&file->refusals[0]);
    file->header.refusals = 1;
    ::_exit(0);
  }
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  const auto before = list_sessions(folder_.path());
  ASSERT_TRUE(before && before->size() == 1);
  EXPECT_GE((*before)[0].disk_bytes, static_cast<int64_t>(kDefaultFlightBytes));
  const Pruned pruned = prune_sessions(folder_.path(), {});
  EXPECT_EQ(pruned.files, 0u);
  const auto flight = read_flight((*before)[0].path);
  ASSERT_TRUE(flight) << flight.error().message;
  EXPECT_EQ(flight->refusals().size(), 1u);
  const auto after = list_sessions(folder_.path());
  ASSERT_TRUE(after && after->size() == 1);
  EXPECT_EQ((*before)[0].disk_bytes - pruned.bytes, (*after)[0].disk_bytes);
}

TEST_F(Sessions, RemovesOneButNotThatOfARunningProcess) {
  add(now_ - 5, 7, 1, EndState::kClean);
  fs::permissions(folder_.path() + "/sessions", fs::perms::owner_all);
  char own[kMaxSessionPath];
  int error = 0;
  FlightFile* file = create(folder_.path().c_str(), {}, own, &error);
  ASSERT_NE(file, nullptr) << error;
  const auto sessions = list_sessions(folder_.path());
  ASSERT_TRUE(sessions && sessions->size() == 2);
  const auto refused = remove_session((*sessions)[0]);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("is running"), std::string::npos);
  EXPECT_TRUE(remove_session((*sessions)[1]));
  EXPECT_EQ(count(), 1u);
  detach(file);
}

TEST_F(Sessions, PruningNeverTakesARunningProcessesFile) {
  fs::permissions(folder_.path() + "/sessions", fs::perms::owner_all);
  char own[kMaxSessionPath];
  int error = 0;
  FlightFile* file = create(folder_.path().c_str(), {}, own, &error);
  ASSERT_NE(file, nullptr) << error;
  EXPECT_EQ(prune_sessions(folder_.path(), {0, -1, 0}).files, 0u);
  EXPECT_TRUE(fs::exists(own));
  detach(file);
}

}  // namespace
}  // namespace oomguard::record

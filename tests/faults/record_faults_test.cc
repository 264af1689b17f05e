// Every system call around a session's file and the neighbours' table fails once: a whole file or
// none, and nothing held afterwards.
#include <gtest/gtest.h>

#include <vector>

#include "collector/record/forget.h"
#include "collector/record/reader.h"
#include "shim/budget/group_table.h"
#include "shim/budget/refusal_record.h"
#include "shim/core/session.h"
#include "tests/faults/each_failure.h"

namespace oomguard::faults {
namespace {

std::vector<std::string> files_in(const std::string& folder) {
  std::vector<std::string> files;
  std::error_code missing;
  for (const auto& entry : std::filesystem::directory_iterator(folder, missing)) {
    files.push_back(entry.path());
  }
  return files;
}

uint64_t refuse() {
  budget::Judgement judgement;
  judgement.source = &budget::gate.probe;
  return budget::write_refusal({record::RequestKind::kMalloc, record::Outcome::kRefused,
                                budget::kMiB, 0, static_cast<int32_t>(gettid()), 1, &judgement},
                               budget::program_now_ns());
}

void start_session(const test::Folder& folder) {
  session::start(folder.path().c_str(), budget::kMiB, 0, 0, "/some/group");
}

TEST(RecordFaultsTest, ASessionIsAWholeFileOrInMemory) {
  each_failure([](const Plan& plan) {
    const test::Folder folder;
    const int before = open_descriptors();
    arm(plan);
    start_session(folder);
    const std::string path = session::path();
    const uint64_t number = refuse();
    disarm();
    EXPECT_EQ(number, 1u);
    EXPECT_EQ(session::file()->header.refusals, 1u);
    EXPECT_EQ(open_descriptors(), before);
    EXPECT_EQ(mappings_below(folder.path()), path.empty() ? 0 : 1);
    const std::vector<std::string> files = files_in(folder / "sessions");
    if (path.empty()) {
      // What cannot be removed either stays behind.
      EXPECT_TRUE(files.empty() || plan.and_after) << files.front();
      return;
    }
    ASSERT_EQ(files, std::vector<std::string>{path});
    const Result<record::Flight> flight = record::read_flight(path);
    ASSERT_TRUE(flight) << flight.error().message;
    EXPECT_EQ((*flight).header().pid, getpid());
    EXPECT_EQ((*flight).refusals().size(), 1u);
  });
}

TEST(RecordFaultsTest, AnUneventfulSessionLeavesAWholeFileOrNone) {
  each_failure([](const Plan& plan) {
    const test::Folder folder;
    start_session(folder);
    arm(plan);
    session::before_exec();
    session::exec_failed();
    session::finish();
    disarm();
    for (const std::string& file : files_in(folder / "sessions")) {
      EXPECT_TRUE(record::read_flight(file)) << file;
    }
  }, {EIO, EROFS, EACCES, EPERM, EBUSY, EINTR, ENOMEM});
}

TEST(RecordFaultsTest, AForkedChildRecordsInAFileOfItsOwnOrInMemory) {
  each_failure([](const Plan& plan) {
    const test::Folder folder;
    start_session(folder);
    const std::string parents = session::path();
    test::expect_in_child([&] {
      const int before = open_descriptors();
      arm(plan);
      session::on_fork_child();
      session::ensure_own_file();
      const uint64_t number = refuse();
      disarm();
      EXPECT_EQ(number, 1u);
      EXPECT_EQ(open_descriptors(), before);
      EXPECT_NE(session::path(), parents);
      EXPECT_TRUE(session::path()[0] == '\0' || record::read_flight(session::path()));
    });
    arm(plan);  // counted for the loop
    session::on_fork_child();
    session::ensure_own_file();
    refuse();
    EXPECT_TRUE(record::read_flight(parents)) << "the parent's is whole in any case";
  }, {EIO, ENOSPC});
}

TEST(RecordFaultsTest, ForgettingSessionsRemovesNoRunningOne) {
  each_failure([](const Plan& plan) {
    const test::Folder folder;
    start_session(folder);
    const std::string own = session::path();
    const std::string gone = folder / "sessions/1-999999999.flight";
    std::filesystem::copy_file(own, gone);
    const int before = open_descriptors();
    arm(plan);
    record::forget_uneventful(folder.path().c_str(), 0, INT64_MAX);
    disarm();
    EXPECT_EQ(open_descriptors(), before);
    EXPECT_TRUE(record::read_flight(own));
    EXPECT_TRUE(!std::filesystem::exists(gone) || record::read_flight(gone));
  });
}

TEST(RecordFaultsTest, WithoutTheGroupsTableAProcessIsAlone) {
  each_failure([](const Plan& plan) {
    const test::Folder folder;
    const int before = open_descriptors();
    static budget::GroupTable table;
    arm(plan);
    const bool joined = table.open(folder.path().c_str(), 7);
    const auto others = table.others(sys::monotonic_ns(), 0);
    table.refresh_others(sys::monotonic_ns());
    disarm();
    EXPECT_EQ(joined, table.joined());
    EXPECT_EQ(others.members, 0u);
    EXPECT_EQ(open_descriptors(), before);
    arm({1, true, plan.error});
    table.leave();
    disarm();
    table.close_in_child();
    EXPECT_EQ(mappings_below(folder.path()), 0);
    EXPECT_TRUE(table.open(folder.path().c_str(), 7)) << "the slot or the file is in the way";
  });
}

}  // namespace
}  // namespace oomguard::faults

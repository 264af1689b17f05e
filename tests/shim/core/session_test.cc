#include "shim/core/session.h"

#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "collector/record/reader.h"
#include "shim/budget/refusal_record.h"
#include "tests/shim/budget/harness.h"

namespace oomguard::session {
namespace {

using budget::kMiB;
using test::Folder;
using test::expect_in_child;
using test::in_child;
using test::start_child;
using test::wait_for;

void start_in(const std::string& directory) {
  start(directory.c_str(), 600 * kMiB, 24 * kMiB, 3, "/sys/fs/cgroup/x");
}

uint64_t refuse(record::Outcome outcome = record::Outcome::kRefused) {
  budget::Judgement judgement;
  judgement.source = &budget::gate.probe;
  return budget::write_refusal({record::RequestKind::kMalloc, outcome,
                                5 * kMiB, 0,
                                static_cast<int32_t>(gettid()), 1, &judgement},
                               budget::program_now_ns());
}

std::vector<std::string> files_in(const Folder& folder) {
  std::vector<std::string> files;
  std::error_code missing;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "sessions", missing)) {
    files.push_back(entry.path());
  }
  return files;
}

record::EndState end_state_of(const std::string& path) {
  const Result<record::Flight> flight = record::read_flight(path);
  if (!flight) {
    ADD_FAILURE() << flight.error().message;
    return record::EndState::kRunning;
  }
  return static_cast<record::EndState>((*flight).header().end_state.load());
}

TEST(SessionTest, BeforeItStartsTheRecordIsInMemory) {
  expect_in_child([] {
    ASSERT_NE(file(), nullptr);
    EXPECT_STREQ(path(), "");
    EXPECT_EQ(refuse(), 1u);
    EXPECT_EQ(file()->header.refusals, 1u);
  });
}

TEST(SessionTest, StartMakesAFileThatSaysWhatApplies) {
  expect_in_child([] {
    const Folder folder;
    start_in(folder.path());
    ASSERT_EQ(files_in(folder), std::vector<std::string>{path()});
    const Result<record::Flight> flight = record::read_flight(path());
    ASSERT_TRUE(flight) << flight.error().message;
    const record::FlightHeader& header = (*flight).header();
    EXPECT_EQ(header.pid, getpid());
    EXPECT_EQ(header.limit_bytes, 600 * kMiB);
    EXPECT_EQ(header.reserve_bytes, 24 * kMiB);
    EXPECT_EQ(header.start_oom_kills, 3);
    EXPECT_STREQ(header.limit_path, "/sys/fs/cgroup/x");
    EXPECT_EQ(header.end_state, static_cast<uint32_t>(record::EndState::kRunning));
  });
}

TEST(SessionTest, TheFileHasTheSizeThatIsWanted) {
  expect_in_child([] {
    const Folder folder;
    start(folder.path().c_str(), 600 * kMiB, 24 * kMiB, 3, "", 2 * kMiB);
    EXPECT_EQ(std::filesystem::file_size(path()), static_cast<uintmax_t>(2 * kMiB));
    EXPECT_EQ(view().capacity(record::Section::kSites),
              record::layout_for(2 * kMiB)[record::Section::kSites].capacity);
  });
}

TEST(SessionTest, ACleanExitWithoutARefusalLeavesNoFile) {
  expect_in_child([] {
    const Folder folder;
    start_in(folder.path());
    finish();
    EXPECT_TRUE(files_in(folder).empty());
  });
}

TEST(SessionTest, ACleanExitAfterARefusalKeepsTheFile) {
  expect_in_child([] {
    const Folder folder;
    start_in(folder.path());
    refuse();
    finish();
    ASSERT_EQ(files_in(folder).size(), 1u);
    EXPECT_EQ(end_state_of(path()), record::EndState::kClean);
  });
}

TEST(SessionTest, AnEndWithoutExitIsOneOfItsOwn) {
  expect_in_child([] {
    const Folder folder;
    start_in(folder.path());
    expect_in_child([] { exits(); });  // a child's is not the parent's
    EXPECT_EQ(end_state_of(path()), record::EndState::kRunning);
    refuse();
    exits();
    finish();
    EXPECT_EQ(end_state_of(path()), record::EndState::kExited);
  });
}

TEST(SessionTest, AnEndWithoutExitOrRefusalLeavesNoFile) {
  expect_in_child([] {
    const Folder folder;
    start_in(folder.path());
    exits();
    EXPECT_TRUE(files_in(folder).empty());
  });
}

TEST(SessionTest, AKilledProcessLeavesItsFile) {
  const Folder folder;
  const pid_t child = start_child([&] {
    start_in(folder.path());
    kill(getpid(), SIGKILL);
  });
  EXPECT_TRUE(WIFSIGNALED(wait_for(child)));
  const auto files = files_in(folder);
  ASSERT_EQ(files.size(), 1u);
  EXPECT_EQ(end_state_of(files[0]), record::EndState::kRunning);
  const Result<record::Flight> flight = record::read_flight(files[0]);
  ASSERT_TRUE(flight);
  EXPECT_FALSE(record::is_running((*flight).header()));
}

class SessionWithoutFile : public testing::TestWithParam<const char*> {};

TEST_P(SessionWithoutFile, KeepsTheRecordInMemory) {
  expect_in_child([] {
    const Folder folder;
    std::string directory = GetParam();
    if (directory == "file") {
      directory = folder / "file";
      test::write_file(directory, "");
    } else if (directory == "long") {
      directory = folder / std::string(300, 'x');
    }
    start_in(directory);
    EXPECT_STREQ(path(), "");
    EXPECT_EQ(file()->header.pid, getpid());
    EXPECT_EQ(file()->header.limit_bytes, 600 * kMiB);
    EXPECT_EQ(file()->header.reserve_bytes, 24 * kMiB);
    EXPECT_EQ(refuse(), 1u);
    EXPECT_EQ(file()->refusals[0].sequence, 1u);
    EXPECT_EQ(file()->refusals[0].request_bytes, 5 * kMiB);
    finish();
    EXPECT_EQ(file()->header.end_state, static_cast<uint32_t>(record::EndState::kClean));
  });
}

INSTANTIATE_TEST_SUITE_P(Session, SessionWithoutFile,
                         testing::Values("/proc/nowhere", "relative", "", "file", "long"));

TEST(SessionTest, AFolderOthersMayWriteToIsNotTrusted) {
  expect_in_child([] {
    const Folder folder;
    ASSERT_EQ(mkdir((folder / "sessions").c_str(), 0700), 0);
    ASSERT_EQ(chmod((folder / "sessions").c_str(), 0777), 0);
    start_in(folder.path());
    EXPECT_STREQ(path(), "");
  });
}

TEST(SessionTest, AForkedChildMakesItsOwnFileWithItsFirstRecord) {
  expect_in_child([] {
    const Folder folder;
    start_in(folder.path());
    file()->header.python_version = (3 << 16) | 12;
    const std::string parents = path();
    expect_in_child([&] {
      on_fork_child();
      EXPECT_STREQ(path(), "");
      EXPECT_EQ(file()->header.pid, getpid());
      EXPECT_EQ(files_in(folder).size(), 1u) << "none before it is needed";
      EXPECT_EQ(refuse(), 1u);
      EXPECT_EQ(files_in(folder).size(), 2u);
      EXPECT_NE(parents, path());
      EXPECT_EQ(file()->header.pid, getpid());
      EXPECT_EQ(file()->header.python_version, (3u << 16) | 12);
      EXPECT_EQ(refuse(), 2u);
      EXPECT_EQ(files_in(folder).size(), 2u);
      finish();
    });
    EXPECT_EQ(file()->header.refusals, 0u);
    EXPECT_EQ(end_state_of(parents), record::EndState::kRunning);
  });
}

TEST(SessionTest, AForkedChildsRecordStaysWhereItIs) {
  expect_in_child([] {
    const Folder folder;
    start_in(folder.path());
    const record::View* const before = &view();
    record::SiteRecord* const sites = before->sites;
    ASSERT_NE(sites, nullptr);
    sites[0].live_bytes = 5;
    expect_in_child([&] {
      on_fork_child();
      EXPECT_EQ(&view(), before);
      EXPECT_EQ(view().sites, sites);
      EXPECT_EQ(sites[0].live_bytes, 0);
      view().section(record::Section::kSites).used = 1;
      sites[0].live_bytes = 9;
      sites[0].state = 1;
      EXPECT_EQ(moves(), 0u);
      EXPECT_EQ(refuse(), 1u);
      EXPECT_EQ(moves(), 1u);
      EXPECT_EQ(view().sites, sites);
      const Result<record::Flight> flight = record::read_flight(path());
      ASSERT_TRUE(flight) << flight.error().message;
      ASSERT_EQ((*flight).sites().size(), 1u);
      EXPECT_EQ((*flight).sites()[0].live_bytes, 9);
    });
    EXPECT_EQ(sites[0].live_bytes, 5);
  });
}

TEST(SessionTest, AForkedChildThatWasRefusedNothingLeavesNothing) {
  expect_in_child([] {
    const Folder folder;
    start_in(folder.path());
    expect_in_child([] {
      on_fork_child();
      finish();
    });
    EXPECT_EQ(files_in(folder), std::vector<std::string>{path()});
    EXPECT_EQ(end_state_of(path()), record::EndState::kRunning);
  });
}

TEST(SessionTest, AChildThatExitsBeforeItsForkHandlerLeavesItsParentsFile) {
  expect_in_child([] {
    const Folder folder;
    start_in(folder.path());
    expect_in_child([] { finish(); });
    EXPECT_EQ(end_state_of(path()), record::EndState::kRunning);
  });
}

// Without a file the child inherits its parent's memory; the refusals in it are not the child's.
TEST(SessionTest, AForkedChildWithoutAFileCountsFromOneToo) {
  expect_in_child([] {
    start_in("/proc/nowhere");
    refuse();
    refuse();
    expect_in_child([] {
      on_fork_child();
      EXPECT_EQ(file()->header.refusals, 0u);
      EXPECT_EQ(file()->refusals[0].sequence, 0u);
      EXPECT_EQ(refuse(), 1u);
    });
    EXPECT_EQ(file()->header.refusals, 2u);
  });
}

TEST(SessionTest, AnExecIsNotedAndTakenBackWhereItFails) {
  expect_in_child([] {
    const Folder folder;
    start_in(folder.path());
    before_exec();
    EXPECT_EQ(end_state_of(path()), record::EndState::kExecuted);
    exec_failed();
    EXPECT_EQ(end_state_of(path()), record::EndState::kRunning);
    expect_in_child([] {
      before_exec();  // a child of vfork: the session is its parent's
      EXPECT_EQ(end_state_of(path()), record::EndState::kRunning);
    });
  });
}

TEST(SessionTest, ExitWithReportWritesItAndEndsWith137) {
  const Folder folder;
  const int status = in_child([&] {
    freopen((folder / "stderr").c_str(), "w", stderr);
    start_in(folder.path());
    refuse();
    exit_with_report();
  });
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 137);
  std::ifstream stream(folder / "stderr");
  std::string text((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
  EXPECT_NE(text.find("5 MiB"), std::string::npos) << text;
  const auto files = files_in(folder);
  ASSERT_EQ(files.size(), 1u);
  EXPECT_EQ(end_state_of(files[0]), record::EndState::kEndedByRefusal);
}

std::string shown_by(std::function<void()> body) {
  const Folder folder;
  const int status = in_child([&] {
    freopen((folder / "stderr").c_str(), "w", stderr);
    body();
  });
  EXPECT_EQ(status, 0);
  std::ifstream stream(folder / "stderr");
  return std::string((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
}

TEST(SessionTest, WhatIsOnlyReportedIsShownOnceAndNotAgainSoon) {
  const std::string shown = shown_by([] {
    refuse(record::Outcome::kReported);
    show_due_report(false);
    show_due_report(false);
    EXPECT_EQ(file()->header.surfaced, 1u);
    refuse(record::Outcome::kReported);
    show_due_report(false);
    EXPECT_EQ(file()->header.surfaced, 1u) << "too soon after the last";
  });
  const std::string start = "oomguard would have stopped this program";
  EXPECT_EQ(shown.find(start), 0u) << shown;
  EXPECT_EQ(shown.find(start, 1), std::string::npos) << shown;
}

TEST(SessionTest, WhatIsRefusedIsNotShownByItself) {
  EXPECT_EQ(shown_by([] {
              refuse();
              show_due_report(false);
            }),
            "");
}

TEST(SessionTest, AReportThatIsDueIsShownAtTheEnd) {
  EXPECT_NE(shown_by([] {
              const Folder folder;
              start_in(folder.path());
              refuse(record::Outcome::kReported);
              finish();
            }).find("5 MiB"),
            std::string::npos);
}

TEST(SessionTest, AForkedChildDoesNotShowItsParentsReport) {
  EXPECT_EQ(shown_by([] {
              refuse(record::Outcome::kReported);
              const pid_t child = start_child([] {
                on_fork_child();
                show_due_report(false);
              });
              EXPECT_EQ(wait_for(child), 0);
            }),
            "");
}

TEST(SessionTest, ExitWithReportDoesNotWaitForAFullPipe) {
  const int status = in_child([] {
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    fcntl(ends[1], F_SETFL, O_NONBLOCK);
    const std::string chunk(65536, 'x');
    while (write(ends[1], chunk.data(), chunk.size()) > 0) {
    }
    fcntl(ends[1], F_SETFL, 0);
    dup2(ends[1], 2);
    refuse();
    alarm(10);
    exit_with_report();
  });
  ASSERT_TRUE(WIFEXITED(status)) << status;
  EXPECT_EQ(WEXITSTATUS(status), 137);
}

}  // namespace
}  // namespace oomguard::session

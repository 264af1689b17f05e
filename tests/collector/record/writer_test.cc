#include "collector/record/writer.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "collector/record/reader.h"
#include "tests/collector/record/fixture.h"

namespace oomguard::record {
namespace {

namespace fs = std::filesystem;

class Writer : public testing::Test {
 protected:
  ~Writer() override { detach(file_); }
  FlightFile* make(const std::string& directory) {
    detach(file_);
    file_ = create(directory.c_str(), {6 * kGiB, 96 * kMiB, 5, "/sys/fs/cgroup/memory/x"}, path_,
                   &error_);
    return file_;
  }
  TemporaryFolder folder_;
  char path_[kMaxSessionPath] = "";
  int error_ = 1;
  FlightFile* file_ = nullptr;
};

TEST_F(Writer, MakesAFileThatTheReaderTakes) {
  ASSERT_NE(make(folder_.path() + "/new/deep//"), nullptr) << error_;
  EXPECT_EQ(error_, 0);
  const auto flight = read_flight(path_);
  ASSERT_TRUE(flight) << flight.error().message;
  const FlightHeader& header = flight->header();
  EXPECT_EQ(header.pid, ::getpid());
  EXPECT_EQ(header.parent_pid, ::getppid());
  EXPECT_EQ(header.limit_bytes, 6 * kGiB);
  EXPECT_EQ(header.start_oom_kills, 5);
  EXPECT_STREQ(header.limit_path, "/sys/fs/cgroup/memory/x");
  const std::string program = fs::read_symlink("/proc/self/exe");
  EXPECT_EQ(header.program, program.substr(0, sizeof(header.program) - 1));
  EXPECT_NE(std::string(header.command).find(fs::path(program).filename()), std::string::npos);
  EXPECT_TRUE(is_running(header));
  EXPECT_TRUE(flight->refusals().empty());
}

TEST_F(Writer, KeepsOthersOut) {
  ASSERT_NE(make(folder_.path() + "/new"), nullptr);
  for (const char* made : {"/new", "/new/sessions"}) {
    EXPECT_EQ(fs::status(folder_.path() + made).permissions() & fs::perms::mask,
              fs::perms::owner_all);
  }
  EXPECT_EQ(fs::status(path_).permissions() & fs::perms::mask,
            fs::perms::owner_read | fs::perms::owner_write);
}

TEST_F(Writer, ReservesTheWholeFileOnDisk) {
  ASSERT_NE(make(folder_.path()), nullptr);
  struct stat info{};
  ASSERT_EQ(::stat(path_, &info), 0);
  EXPECT_EQ(info.st_size, static_cast<off_t>(kDefaultFlightBytes));
  EXPECT_GE(info.st_blocks * 512, info.st_size);
}

TEST_F(Writer, MakesAFileOfTheSizeThatIsWanted) {
  Start start;
  start.file_bytes = 3 * kMiB + 5;
  file_ = create(folder_.path().c_str(), start, path_, &error_);
  ASSERT_NE(file_, nullptr);
  EXPECT_EQ(fs::file_size(path_), static_cast<uintmax_t>(3 * kMiB));
  EXPECT_EQ(view_of(file_).capacity(Section::kSites),
            layout_for(3 * kMiB)[Section::kSites].capacity);
}

TEST(AffordableBytes, IsAQuarterOfWhatIsFree) {
  constexpr int64_t kNone = INT64_MAX;
  EXPECT_EQ(affordable_bytes(16 * kMiB, {kGiB, false}, kNone), 16u * kMiB);
  EXPECT_EQ(affordable_bytes(16 * kMiB, {40 * kMiB, false}, kNone), 10u * kMiB);
  EXPECT_EQ(affordable_bytes(16 * kMiB, {3 * kMiB, false}, kNone), 0u);
  EXPECT_EQ(affordable_bytes(16 * kMiB, {-1, false}, kNone), 0u);
}

TEST(AffordableBytes, OfAFileThatIsMemoryIsASmallPartOfTheLimit) {
  EXPECT_EQ(affordable_bytes(16 * kMiB, {kGiB, true}, 600 * kMiB),
            static_cast<uint64_t>(1 * kMiB + 64 * 1024 * 2));
  EXPECT_EQ(affordable_bytes(16 * kMiB, {kGiB, true}, 100 * kMiB), 1u * kMiB);
  EXPECT_EQ(affordable_bytes(16 * kMiB, {kGiB, true}, INT64_MAX), 16u * kMiB);
}

TEST_F(Writer, ARecordInMemoryIsNoFileAndCostsNothing) {
  file_ = create_in_memory({}, nullptr);
  ASSERT_NE(file_, nullptr);
  EXPECT_FALSE(is_in_file(file_->header));
  EXPECT_EQ(file_->header.pid, ::getpid());
  EXPECT_EQ(file_->header.file_bytes, kDefaultFlightBytes);
}

TEST_F(Writer, ARecordInMemoryReplacesTheParentsFile) {
  ASSERT_NE(make(folder_.path()), nullptr);
  file_->header.refusals = 3;
  view_of(file_).strings[5] = 'x';
  ASSERT_EQ(create_in_memory({}, file_), file_);
  EXPECT_EQ(file_->header.refusals, 0u);
  EXPECT_EQ(view_of(file_).strings[5], '\0');
  const auto flight = read_flight(path_);
  ASSERT_TRUE(flight);
  EXPECT_EQ(flight->header().refusals, 3u) << "its parent's is as it was";
}

TEST_F(Writer, WhatIsInMemoryMovesToAFileAtTheSameAddress) {
  file_ = create_in_memory({}, nullptr);
  ASSERT_NE(file_, nullptr);
  const View view = view_of(file_);
  file_->header.python_version = 0x30b00;
  Timeline timeline;
  Sample sample{};
  sample.at_monotonic_ns = 77;
  timeline.add(view, sample, [](const void*, size_t) { return true; });
  view.section(Section::kSites).used = 1;
  view.sites[0].live_bytes = 42;
  view.sites[0].state = 1;
  fill_refusal(&file_->refusals[0]);
  file_->refusals[0].at_monotonic_ns = 5;
  ASSERT_TRUE(move_to_file(file_, folder_.path().c_str(), {}, path_, &error_)) << error_;
  EXPECT_TRUE(is_in_file(file_->header));
  view.sites[0].live_blocks = 7;
  const auto flight = read_flight(path_);
  ASSERT_TRUE(flight) << flight.error().message;
  ASSERT_EQ(flight->sites().size(), 1u);
  EXPECT_EQ(flight->sites()[0].live_bytes, 42);
  EXPECT_EQ(flight->sites()[0].live_blocks, 7) << "it is mapped there now";
  ASSERT_EQ(flight->samples().size(), 1u);
  EXPECT_EQ(flight->samples()[0].at_monotonic_ns, 77);
  EXPECT_EQ(flight->refusals().size(), 1u);
  EXPECT_EQ(flight->header().python_version, 0x30b00u);
  EXPECT_EQ(flight->header().pid, ::getpid());
}

TEST_F(Writer, WhereNoFileCanBeMadeTheRecordStaysInMemory) {
  file_ = create_in_memory({}, nullptr);
  ASSERT_NE(file_, nullptr);
  file_->header.incidents = 9;
  EXPECT_FALSE(move_to_file(file_, "/proc/nowhere", {}, path_, &error_));
  EXPECT_LT(error_, 0);
  EXPECT_STREQ(path_, "");
  EXPECT_EQ(file_->header.incidents, 9u);
}

TEST_F(Writer, GivesASecondFileOfTheSameSecondAnotherName) {
  ASSERT_NE(make(folder_.path()), nullptr);
  const std::string first = path_;
  ASSERT_NE(make(folder_.path()), nullptr);
  EXPECT_NE(first, path_);
  EXPECT_TRUE(fs::exists(first));
}

TEST_F(Writer, RefusesASymbolicLink) {
  fs::create_directory(folder_.path() + "/real");
  fs::create_directory_symlink(folder_.path() + "/real", folder_.path() + "/link");
  EXPECT_EQ(make(folder_.path() + "/link/"), nullptr);
  EXPECT_LT(error_, 0);
  EXPECT_STREQ(path_, "");
  fs::create_directory(folder_.path() + "/own");
  fs::create_directory_symlink(folder_.path() + "/real", folder_.path() + "/own/sessions");
  EXPECT_EQ(make(folder_.path() + "/own"), nullptr);
  EXPECT_TRUE(fs::is_empty(folder_.path() + "/real"));
}

TEST_F(Writer, RefusesAFolderOfSomebodyElse) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a folder away";
  ASSERT_EQ(::chown(folder_.path().c_str(), 65534, 65534), 0);
  EXPECT_EQ(make(folder_.path()), nullptr);
  EXPECT_EQ(error_, -EPERM);
}

TEST_F(Writer, RefusesASessionsFolderThatOthersMayWriteTo) {
  fs::create_directory(folder_.path() + "/sessions");
  fs::permissions(folder_.path() + "/sessions", fs::perms::all);
  EXPECT_EQ(make(folder_.path()), nullptr);
  EXPECT_EQ(error_, -EPERM);
}

TEST_F(Writer, AnswersWithAnErrorWhereNothingCanBeMade) {
  EXPECT_EQ(make("relative"), nullptr);
  EXPECT_EQ(error_, -EINVAL);
  EXPECT_EQ(make("/proc/nowhere"), nullptr);
  EXPECT_LT(error_, 0);
  EXPECT_EQ(make(folder_.path() + "/" + std::string(kMaxSessionPath, 'd')), nullptr);
  EXPECT_EQ(error_, -ENAMETOOLONG);
}

TEST_F(Writer, AHoleLiesBelowTheRecord) {
  ASSERT_NE(make(folder_.path()), nullptr);
  unsigned char there = 0;
  EXPECT_EQ(::mincore(reinterpret_cast<char*>(file_) - 4096, 4096, &there), -1);
  EXPECT_EQ(errno, ENOMEM) << "something is mapped right below it";
}

TEST_F(Writer, RemovesTheFileOfASessionInWhichNothingHappened) {
  ASSERT_NE(make(folder_.path()), nullptr);
  remove_if_uneventful(file_, path_);
  EXPECT_FALSE(fs::exists(path_));
}

TEST_F(Writer, KeepsTheFileOfASessionWithARefusal) {
  ASSERT_NE(make(folder_.path()), nullptr);
  file_->header.refusals = 1;
  remove_if_uneventful(file_, path_);
  EXPECT_TRUE(fs::exists(path_));
}

TEST_F(Writer, KeepsTheFileOfASessionWithAWarning) {
  ASSERT_NE(make(folder_.path()), nullptr);
  file_->header.reread.times = 1;
  remove_if_uneventful(file_, path_);
  EXPECT_TRUE(fs::exists(path_));
}

TEST_F(Writer, KeepsTheParentsFileInAForkedChild) {
  ASSERT_NE(make(folder_.path()), nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    remove_if_uneventful(file_, path_);
    ::_exit(0);
  }
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(fs::exists(path_));
}

}  // namespace
}  // namespace oomguard::record

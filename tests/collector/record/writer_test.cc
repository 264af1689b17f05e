#include "collector/record/writer.h"

#include <errno.h>
#include <gtest/gtest.h>
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
  EXPECT_EQ(info.st_size, static_cast<off_t>(sizeof(FlightFile)));
  EXPECT_GE(info.st_blocks * 512, info.st_size);
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

#include "collector/probe/kernel_file.h"

#include <sys/resource.h>

#include <string>
#include <thread>
#include <vector>

#include "tests/collector/probe/fixture_tree.h"

namespace oomguard::probe {
namespace {

class KernelFileTest : public testing::Test {
 protected:
  void SetUp() override { tree_.write("/one", "first"); }
  void TearDown() override { file_.close(); }

  std::string read() {
    char text[64];
    const long got = file_.pread(path_, text, sizeof(text));
    return got < 0 ? "error" : std::string(text, static_cast<size_t>(got));
  }
  int number() { return file_.ensure_open(path_); }

  FixtureTree tree_;
  KernelFile file_;
  PathRef path_{tree_.root(), "one"};
};

TEST_F(KernelFileTest, TakesAHighNumberThatIsClosedAtExec) {
  ASSERT_EQ(read(), "first");
  EXPECT_GE(number(), 256) << "programs list the first 256 to see what they were given";
  EXPECT_EQ(fcntl(number(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
}

TEST_F(KernelFileTest, StaysBelowASmallLimitOfDescriptors) {
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit small{64, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &small), 0);
  EXPECT_EQ(read(), "first");
  EXPECT_GE(number(), 32);
  EXPECT_LT(number(), 64);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
}

TEST_F(KernelFileTest, KeepsNothingOfAVerySmallTableOpen) {
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit tiny{32, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &tiny), 0);
  const int lowest = dup(0);
  ::close(lowest);
  EXPECT_EQ(read(), "first");
  EXPECT_EQ(read(), "first");
  const int next = dup(0);
  EXPECT_EQ(next, lowest) << "no descriptor stayed behind";
  EXPECT_EQ(file_.ensure_open(path_), -EAGAIN);
  ::close(next);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
}

TEST_F(KernelFileTest, OpensAgainWhenTheProgramClosedIt) {
  ASSERT_EQ(read(), "first");
  ::close(number());
  EXPECT_EQ(read(), "first");
}

TEST_F(KernelFileTest, DoesNotBelieveNorCloseAnotherFileUnderItsNumber) {
  tree_.write("/other", "program");
  ASSERT_EQ(read(), "first");
  const int taken = number();
  const int other = ::open(tree_.path("/other").c_str(), O_RDONLY);
  ASSERT_EQ(dup2(other, taken), taken);
  EXPECT_EQ(read(), "first");
  file_.close();
  char text[8];
  EXPECT_EQ(::pread(taken, text, sizeof(text), 0), 7) << "the program's file must stay open";
  ::close(taken);
  ::close(other);
}

TEST_F(KernelFileTest, LeavesNoDescriptorBehind) {
  ASSERT_EQ(read(), "first");
  const int kept = number();
  file_.close();
  EXPECT_EQ(fcntl(kept, F_GETFD), -1);
}

TEST_F(KernelFileTest, TellsTheErrorOfAMissingFile) {
  char text[8];
  EXPECT_EQ(file_.pread({tree_.root(), "none"}, text, sizeof(text)), -ENOENT);
  const std::string far(700, 'x');
  EXPECT_EQ(file_.pread({tree_.root(), far.c_str()}, text, sizeof(text)), -ENAMETOOLONG);
}

TEST_F(KernelFileTest, SurvivesManyReadersWhileItIsClosedAgainAndAgain) {
  ASSERT_EQ(read(), "first");
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::atomic<long> last_error{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      char text[8];
      while (!stop) {
        const long got = file_.pread(path_, text, sizeof(text));
        if (got == 5) continue;
        ++wrong;
        last_error = got;
      }
    });
  }
  for (int i = 0; i < 200; ++i) {
    ::close(number());
    usleep(100);
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(wrong, 0) << "last error " << last_error;
}

}  // namespace
}  // namespace oomguard::probe

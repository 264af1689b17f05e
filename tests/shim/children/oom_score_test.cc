#include "shim/children/oom_score.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

namespace oomguard::children {
namespace {

int score_of(const std::string& process) {
  int score = kNoScore;
  std::ifstream("/proc/" + process + "/oom_score_adj") >> score;
  return score;
}

void set_own_score(int score) { std::ofstream("/proc/self/oom_score_adj") << score; }

// A value that was raised may not be lowered again by everybody.
template <typename Body>
void in_child(Body body) {
  const pid_t child = fork();
  if (child == 0) {
    body();
    _exit(testing::Test::HasFailure() ? 1 : 0);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

class OomScore : public testing::Test {
 protected:
  void SetUp() override {
    if (own_score() > 400) GTEST_SKIP() << "the tests run with a high value already";
  }
};

TEST(OomScoreValue, IsRaisedAndCapped) {
  EXPECT_EQ(raised(0), 500);
  EXPECT_EQ(raised(-900), -400);
  EXPECT_EQ(raised(985), 1000);
  EXPECT_EQ(raised(1000), 1000);
}

TEST_F(OomScore, OwnValueIsTheKernels) {
  EXPECT_EQ(own_score(), score_of("self"));
  in_child([] {
    set_own_score(450);
    EXPECT_EQ(own_score(), 450);
  });
}

TEST_F(OomScore, NothingIsWrittenBeforeAValueIsSet) {
  const int before = own_score();
  in_child([before] {
    make_first_victim(0);
    EXPECT_EQ(own_score(), before);
  });
}

TEST_F(OomScore, AChildGetsTheValue) {
  in_child([] {
    set_child_score(500);
    make_first_victim(0);
    EXPECT_EQ(own_score(), 500);
  });
}

TEST_F(OomScore, AHigherValueStays) {
  in_child([] {
    set_own_score(700);
    set_child_score(500);
    make_first_victim(0);
    EXPECT_EQ(own_score(), 700);
  });
}

TEST_F(OomScore, AParentRaisesItsChild) {
  const int own = own_score();
  int gate[2];
  ASSERT_EQ(pipe(gate), 0);
  const pid_t child = fork();
  if (child == 0) {
    char byte;
    _exit(read(gate[0], &byte, 1) == 1 ? 0 : 1);
  }
  set_child_score(500);
  make_first_victim(child);
  set_child_score(kNoScore);
  EXPECT_EQ(score_of(std::to_string(child)), 500);
  EXPECT_EQ(own_score(), own);
  ASSERT_EQ(write(gate[1], "x", 1), 1);
  waitpid(child, nullptr, 0);
  close(gate[0]);
  close(gate[1]);
}

// vfork's child shares the memory, not the value.
TEST_F(OomScore, AVforkChildLeavesItsParentsValueAlone) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "ThreadSanitizer makes a fork of each vfork";
#endif
  const int own = own_score();
  set_child_score(500);
  volatile int in_child_score = 0;
  const pid_t child = vfork();
  if (child == 0) {
    make_first_victim(0);
    in_child_score = own_score();
    _exit(0);
  }
  set_child_score(kNoScore);
  waitpid(child, nullptr, 0);
  EXPECT_EQ(in_child_score, 500);
  EXPECT_EQ(own_score(), own);
}

TEST_F(OomScore, AProcessThatIsGoneIsNoFault) {
  set_child_score(500);
  make_first_victim(0x7ffffff0);
  set_child_score(kNoScore);
}

}  // namespace
}  // namespace oomguard::children

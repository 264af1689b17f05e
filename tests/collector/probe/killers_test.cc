#include "collector/probe/killers.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

namespace oomguard::probe {
namespace {

constexpr Bytes kTotal = Bytes{16} << 30;

TEST(Killers, KnowsTheLinesOfTheUsualOnes) {
  EXPECT_EQ(killer_line("earlyoom", kTotal), kTotal / 1000 * 100);
  EXPECT_EQ(killer_line("nohang", kTotal), kTotal / 1000 * 50);
  EXPECT_EQ(killer_line("kubelet", kTotal), Bytes{100} << 20);
  EXPECT_EQ(killer_line("earlyoomx", kTotal), 0);
  EXPECT_EQ(killer_line("", kTotal), 0);
}

Bytes line_of(const std::string& arguments) {
  return earlyoom_line(arguments.data(), arguments.size(), kTotal);
}

TEST(Killers, EarlyoomsArgumentsMoveItsLine) {
  using std::string_literals::operator""s;
  EXPECT_EQ(line_of("earlyoom\0-r\0"s "60\0"s), kTotal / 1000 * 100);
  EXPECT_EQ(line_of("earlyoom\0-m\0"s "25\0"s), kTotal / 100 * 25);
  EXPECT_EQ(line_of("earlyoom\0-m4,2\0-s\0"s "100\0"s), kTotal / 100 * 4);
  EXPECT_EQ(line_of("earlyoom\0-m\0"s "2.5\0"s), kTotal / 100 * 3);
  EXPECT_EQ(line_of("earlyoom\0-M\0"s "150000,1000\0"s), 150000 * 1024);
  EXPECT_EQ(line_of("earlyoom\0-m\0"s "25\0-M\0"s "150000\0"s), 150000 * 1024) << "the lower";
  EXPECT_EQ(line_of("earlyoom\0-m\0none\0"s), kTotal / 1000 * 100);
  EXPECT_EQ(line_of("earlyoom\0-m\0"s "101\0"s), kTotal / 1000 * 100);
  EXPECT_EQ(line_of("earlyoom\0-m"s), kTotal / 1000 * 100);
  EXPECT_EQ(line_of(""), kTotal / 1000 * 100);
}

TEST(Killers, FindsARunningOneByItsName) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    prctl(PR_SET_NAME, "earlyoom");
    if (write(ready[1], "x", 1) != 1) _exit(1);
    for (;;) pause();
  }
  char byte;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  EXPECT_EQ(find_killer_line(kTotal), kTotal / 1000 * 100);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  close(ready[0]);
  close(ready[1]);
}

}  // namespace
}  // namespace oomguard::probe

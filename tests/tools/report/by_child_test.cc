#include "tools/report/by_child.h"

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace oomguard::tools {
namespace {

using std::chrono::minutes;

TEST(ByChild, WhatItMakesComesWhole) {
  const std::string large(1 << 20, 'x');  // more than a pipe holds
  EXPECT_EQ(made_by_child([&] { return large; }, minutes(1)), large);
}

TEST(ByChild, OfOneThatDoesNotEndOrFailsNothingIsLeft) {
  const auto sleeps = []() -> std::string {
    for (;;) ::pause();
  };
  EXPECT_EQ(made_by_child(sleeps, std::chrono::milliseconds(20)), "");
  EXPECT_EQ(made_by_child([]() -> std::string { ::_exit(3); }, minutes(1)), "");
  while (::waitpid(-1, nullptr, 0) > 0) {
  }
  EXPECT_EQ(errno, ECHILD);  // both are gone
}

TEST(ByChild, ItHasNoneOfTheDescriptors) {
  const auto open_ones = [] {
    std::string open;
    for (int fd = 1; fd < 1024; ++fd) {
      if (::fcntl(fd, F_GETFD) >= 0) open += std::to_string(fd) + " ";
    }
    return "open: " + open;
  };
  EXPECT_EQ(made_by_child(open_ones, minutes(1)), "open: ");
}

}  // namespace
}  // namespace oomguard::tools

#include "collector/options/settings.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace oomguard::options {
namespace {

// A folder with a system's and a user's file, and what they and an environment come to.
class SettingsTest : public testing::Test {
 protected:
  SettingsTest() {
    std::string name = std::filesystem::temp_directory_path() / "oomguard-settings-XXXXXX";
    folder_ = ::mkdtemp(name.data());
  }
  ~SettingsTest() override { std::filesystem::remove_all(folder_); }

  std::string path(bool system) const { return folder_ + (system ? "/system" : "/user"); }
  void write(bool system, const std::string& text, mode_t mode = 0644) const {
    std::ofstream(path(system), std::ios::binary) << text;
    ::chmod(path(system).c_str(), mode);
  }
  Values read(std::vector<const char*> environment = {}) {
    environment.push_back(nullptr);
    Files files;
    const std::string system = path(true);
    files.system = system.c_str();
    strcpy(files.user, path(false).c_str());
    told_.clear();
    const auto tell = [](const Found& found, void* context) {
      char line[512];
      static_cast<std::string*>(context)->append(line, describe(found, line, sizeof line));
    };
    Values values;
    read_settings(environment.data(), files, &values, tell, &told_);
    return values;
  }
  bool told(const std::string& text) const { return told_.find(text) != std::string::npos; }

  std::string folder_;
  std::string told_;
};

TEST_F(SettingsTest, ALaterSourceReplacesAnEarlierOne) {
  if (::geteuid() != 0) GTEST_SKIP() << "the system's file belongs to root";
  write(true, "# the site's\n\n  budget = 1G\r\nreserve=64MiB\nchildren = all\n");
  write(false, "budget=2G\nreserve = 65MiB");
  const Values values = read({"OOMGUARD_BUDGET=3G", "MEM_LIMIT=99999999"});
  EXPECT_EQ(values.budget_bytes, int64_t{3} << 30);
  EXPECT_EQ(values.reserve_bytes, int64_t{65} << 20);
  EXPECT_EQ(values.children, Children::kAll);
  EXPECT_EQ(told_, "");
}

TEST_F(SettingsTest, WhatIsLockedStays) {
  if (::geteuid() != 0) GTEST_SKIP() << "the system's file belongs to root";
  write(true, "lock budget = 1G\nlock\tenabled = 0\nlock view = host\n");
  write(false, "budget = 2G\nlock children = all\n");
  const Values values = read({"OOMGUARD_BUDGET=3G", "OOMGUARD=1", "OOMGUARD_RESERVE=64MiB"});
  EXPECT_EQ(values.budget_bytes, int64_t{1} << 30);
  EXPECT_FALSE(values.enabled);
  EXPECT_EQ(values.view, View::kHost);
  EXPECT_EQ(values.children, Children::kPython);
  EXPECT_EQ(values.reserve_bytes, int64_t{64} << 20);
  const std::string locked = " does not count: the value is locked in " + path(true) + "\n";
  EXPECT_TRUE(told(path(false) + " line 1: budget=2G" + locked)) << told_;
  EXPECT_TRUE(told("line 2: children=all cannot be locked here")) << told_;
  EXPECT_TRUE(told("oomguard: OOMGUARD_BUDGET=3G" + locked)) << told_;
}

TEST_F(SettingsTest, OffInTheEnvironmentHoldsAgainstALock) {
  if (::geteuid() != 0) GTEST_SKIP() << "the system's file belongs to root";
  write(true, "lock enabled = 1\n");
  EXPECT_FALSE(read({"OOMGUARD=0"}).enabled);
  EXPECT_EQ(told_, "");
}

TEST_F(SettingsTest, WhatIsWrongInAFileIsToldAndTheRestHolds) {
  using std::string_literals::operator""s;
  write(false, "bugdet = 1G\nreserve\nchildren = bash\n=\nview = host\non-limit = warn\0\n"
               "sample = \033[31m\nview = no"s);
  const Values values = read();
  EXPECT_EQ(values.view, View::kHost);
  EXPECT_EQ(values.on_limit, OnLimit::kRaise);
  const std::string file = "oomguard: " + path(false);
  EXPECT_EQ(told_, file + " line 1: no option is called bugdet\n" +
                       file + " line 2: not of the form key = value\n" +
                       file + " line 3: children=bash is not accepted (python, all, or none); "
                              "using the default, python\n" +
                       file + " line 4: no option is called \n" +
                       file + " line 6: not of the form key = value\n" +
                       file + " line 7: sample=?[31m is not accepted (a size from 4KiB to 1GiB "
                              "(512KiB), or 0: never); using the default, 512KiB\n" +
                       file + " line 8: view=no is not accepted (budget, or host); using that of " +
                       path(false) + "\n");
}

TEST_F(SettingsTest, AFileOfSomebodyElseOrForEverybodyDoesNotCount) {
  const auto why = [&](bool system = false) {
    EXPECT_EQ(read().view, View::kBudget);
    const std::string start = "oomguard: " + path(system) + " does not count: ";
    EXPECT_TRUE(told_.starts_with(start) && told_.ends_with("\n")) << told_;
    return told_.size() > start.size() ? told_.substr(start.size(), told_.size() - start.size() - 1)
                                       : "";
  };
  write(false, "view = host\n", 0666);
  EXPECT_EQ(why(), "everybody may write to it");
  write(false, "view = host\n" + std::string(kMostFileBytes, '#'), 0644);
  EXPECT_EQ(why(), "it is larger than 8 KiB");
  std::filesystem::remove(path(false));
  ASSERT_EQ(::mkfifo(path(false).c_str(), 0600), 0);
  EXPECT_EQ(why(), "it is no regular file");
  std::filesystem::remove(path(false));
  std::filesystem::create_symlink(path(false), path(false));
  EXPECT_EQ(why(), "it cannot be opened");
  std::filesystem::remove(path(false));
  if (::geteuid() != 0) return;
  for (const bool system : {false, true}) {
    write(system, "view = host\n");
    ASSERT_EQ(::chown(path(system).c_str(), 4711, 0), 0);
    EXPECT_EQ(why(system), "it belongs to another user");
    std::filesystem::remove(path(system));
  }
}

TEST_F(SettingsTest, OneThatFillsTheWholeBufferIsRead) {
  std::string text = "view = host\n";
  text.resize(kMostFileBytes, '#');
  write(false, text);
  EXPECT_EQ(read().view, View::kHost);
  EXPECT_EQ(told_, "");
}

TEST(PolicyFiles, TheUsersIsInTheConfigurationFolder) {
  const auto user = [](std::vector<const char*> environment) {
    environment.push_back(nullptr);
    return std::string(policy_files(environment.data()).user);
  };
  EXPECT_EQ(user({"HOME=/home/ada"}), "/home/ada/.config/oomguard.conf");
  EXPECT_EQ(user({"HOME=/home/ada", "XDG_CONFIG_HOME=/c"}), "/c/oomguard.conf");
  EXPECT_EQ(user({"HOME=/home/ada", "XDG_CONFIG_HOME=c"}), "/home/ada/.config/oomguard.conf");
  EXPECT_EQ(user({"HOME=ada"}), "");
  EXPECT_EQ(user({("HOME=/" + std::string(kMostPath, 'h')).c_str()}), "");
  EXPECT_STREQ(policy_files(nullptr).system, "/etc/oomguard.conf");
}

TEST_F(SettingsTest, OfTheEnvironmentEveryVariableCountsAndTheRestHasItsDefault) {
  const Values values = read({"PATH=/bin", "OOMGUARD=0", "OOMGUARD_CHILDREN=all",
                              "OOMGUARD_BUDGETX=1", "OOMGUARD_EXIT_CODE=137"});
  EXPECT_FALSE(values.enabled);
  EXPECT_EQ(values.children, Children::kAll);
  EXPECT_EQ(values.refusal_exit_code, 137);
  EXPECT_EQ(values.budget_bytes, -1);
  EXPECT_EQ(values.swap_share_permille, 500u);
  EXPECT_EQ(told_, "");
}

TEST_F(SettingsTest, AVariableThatIsNotAcceptedIsTold) {
  EXPECT_EQ(read({"OOMGUARD_RESERVE=much"}).reserve_bytes, -1);
  EXPECT_EQ(told_, "oomguard: OOMGUARD_RESERVE=much is not accepted (auto, or a size (64MiB)); "
                   "using the default, auto\n");
}

TEST_F(SettingsTest, AnEmptyVariableIsNotSet) {
  const Values values = read({"OOMGUARD=", "OOMGUARD_BUDGET=", "MEM_LIMIT=104857600"});
  EXPECT_TRUE(values.enabled);
  EXPECT_EQ(values.budget_bytes, 104857600);
}

TEST_F(SettingsTest, MemLimitCountsOnlyWhereNothingElseSetsABudget) {
  EXPECT_EQ(read({"MEM_LIMIT=99999999", "OOMGUARD_BUDGET=auto"}).budget_bytes, -1);
  for (const char* other : {"MEM_LIMIT=whatever", "MEM_LIMIT=4096"}) {
    EXPECT_EQ(read({other}).budget_bytes, -1);
  }
  write(false, "budget = auto");
  EXPECT_EQ(read({"MEM_LIMIT=99999999"}).budget_bytes, -1);
  EXPECT_EQ(told_, "");
}

}  // namespace
}  // namespace oomguard::options

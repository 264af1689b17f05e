#include "collector/options/options.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <string>

namespace oomguard::options {
namespace {

Values parsed(Id id, const char* value) {
  Values values;
  EXPECT_TRUE(parse(id, value, &values)) << value;
  return values;
}

void expect_rejected(Id id, const char* value) {
  Values values;
  values.budget_bytes = 4711;
  values.directory[0] = 'x';
  EXPECT_FALSE(parse(id, value, &values)) << (value != nullptr ? value : "(null)");
  EXPECT_EQ(values.budget_bytes, 4711);
  EXPECT_EQ(values.directory[0], 'x');
}

TEST(Table, NamesEveryOptionOnceAndExplainsIt) {
  std::set<std::string> names;
  for (size_t i = 0; i < static_cast<size_t>(Id::kCount); ++i) {
    const Option& option = kTable[i];
    EXPECT_EQ(static_cast<size_t>(option.id), i);
    EXPECT_EQ(strncmp(option.variable, "OOMGUARD", 8), 0) << option.variable;
    EXPECT_TRUE(names.insert(option.variable).second) << option.variable;
    if (option.flag[0] != '\0') {
      EXPECT_EQ(strncmp(option.flag, "--", 2), 0);
      EXPECT_TRUE(names.insert(option.flag).second) << option.flag;
    }
    EXPECT_GT(strlen(option.forms), 0u);
    EXPECT_GT(strlen(option.fallback), 0u);
    EXPECT_GT(strlen(option.help), 10u);
  }
}

TEST(Parse, BudgetIsAutoOrASizeOrAShare) {
  EXPECT_EQ(parsed(Id::kBudget, "28G").budget_bytes, int64_t{28} << 30);
  EXPECT_EQ(parsed(Id::kBudget, "80%").budget_share_permille, 800u);
  EXPECT_EQ(parsed(Id::kBudget, "80%").budget_bytes, -1);
  EXPECT_EQ(parsed(Id::kBudget, "auto").budget_bytes, -1);
  for (const char* bad : {"", "0", "-1", "lots", "110%", "0%", "28X", "Auto ", "1e9"}) {
    expect_rejected(Id::kBudget, bad);
  }
  expect_rejected(Id::kBudget, nullptr);
}

TEST(Parse, ALaterBudgetReplacesTheEarlierOneWhole) {
  Values values;
  ASSERT_TRUE(parse(Id::kBudget, "80%", &values));
  ASSERT_TRUE(parse(Id::kBudget, "1G", &values));
  EXPECT_EQ(values.budget_share_permille, 0u);
  EXPECT_EQ(values.budget_bytes, int64_t{1} << 30);
}

TEST(Parse, SwitchesTakeTheUsualWords) {
  for (const char* on : {"1", "on", "yes", "true"}) {
    EXPECT_TRUE(parsed(Id::kKeepFrames, on).keep_frames);
    EXPECT_TRUE(parsed(Id::kGpuAudit, on).gpu_audit);
    EXPECT_TRUE(parsed(Id::kEnabled, on).enabled);
  }
  for (const char* off : {"0", "off", "no", "false"})
    EXPECT_FALSE(parsed(Id::kEnabled, off).enabled);
  expect_rejected(Id::kEnabled, "2");
  expect_rejected(Id::kEnabled, "disable");
}

TEST(Parse, ABudgetIsAtLeastWhatAnInterpreterNeeds) {
  EXPECT_EQ(parsed(Id::kBudget, "16MiB").budget_bytes, kLeastBudget);
  expect_rejected(Id::kBudget, "15.9MiB");
  expect_rejected(Id::kBudget, "8");
}

TEST(Parse, AGpuBudgetIsOneForAllOrOneForEach) {
  EXPECT_EQ(gpu_budget_of(Values(), 0), nullptr);
  EXPECT_EQ(gpu_budget_of(parsed(Id::kGpuBudget, "auto"), 0), nullptr);
  EXPECT_EQ(gpu_budget_of(parsed(Id::kGpuBudget, "20G"), 3)->bytes, int64_t{20} << 30);
  EXPECT_EQ(gpu_budget_of(parsed(Id::kGpuBudget, "50%"), 0)->share_permille, 500u);
  const Values each = parsed(Id::kGpuBudget, "0=20G,1=12.5%,10=auto");
  EXPECT_EQ(gpu_budget_of(each, 0)->bytes, int64_t{20} << 30);
  EXPECT_EQ(gpu_budget_of(each, 1)->share_permille, 125u);
  EXPECT_EQ(gpu_budget_of(each, 1)->bytes, -1);
  EXPECT_EQ(gpu_budget_of(each, 2), nullptr);
  EXPECT_EQ(gpu_budget_of(each, 10), nullptr);
  const Values others = parsed(Id::kGpuBudget, "20G,1=auto");
  EXPECT_EQ(gpu_budget_of(others, 0)->bytes, int64_t{20} << 30);
  EXPECT_EQ(gpu_budget_of(others, 1), nullptr);
  for (const char* bad : {"", "20", "0=", "=20G", "a=20G", "0=20G,", "0=20G;1=20G", "-1=20G",
                          "1000=20G", "0=0=20G", "110%"}) {
    expect_rejected(Id::kGpuBudget, bad);
  }
}

TEST(Parse, TheOtherOptionsTakeTheirFormsOnly) {
  EXPECT_EQ(parsed(Id::kReserve, "64MiB").reserve_bytes, int64_t{64} << 20);
  EXPECT_EQ(parsed(Id::kReserve, "auto").reserve_bytes, -1);
  EXPECT_EQ(parsed(Id::kSwapShare, "0%").swap_share_permille, 0u);
  EXPECT_EQ(parsed(Id::kSwapShare, "12.5%").swap_share_permille, 125u);
  EXPECT_EQ(parsed(Id::kChildren, "none").children, Children::kNone);
  EXPECT_EQ(parsed(Id::kChildren, "all").children, Children::kAll);
  EXPECT_EQ(parsed(Id::kOnLimit, "warn").on_limit, OnLimit::kWarn);
  EXPECT_EQ(parsed(Id::kOnLimit, "exit").on_limit, OnLimit::kExit);
  EXPECT_STREQ(parsed(Id::kSpillDirectory, "/var/tmp").spill_directory, "/var/tmp");
  EXPECT_EQ(parsed(Id::kSpillLimit, "2GiB").spill_limit_bytes, int64_t{2} << 30);
  EXPECT_EQ(parsed(Id::kSpillLimit, "0").spill_limit_bytes, 0);
  EXPECT_EQ(parsed(Id::kSpillLimit, "auto").spill_limit_bytes, -1);
  EXPECT_EQ(Values().view, View::kBudget);
  EXPECT_EQ(parsed(Id::kView, "host").view, View::kHost);
  EXPECT_EQ(parsed(Id::kView, "budget").view, View::kBudget);
  EXPECT_EQ(parsed(Id::kExitCode, "137").refusal_exit_code, 137);
  EXPECT_EQ(parsed(Id::kExitCode, "keep").refusal_exit_code, 0);
  EXPECT_STREQ(parsed(Id::kDirectory, "/var/tmp/x").directory, "/var/tmp/x");
  EXPECT_EQ(parsed(Id::kFlightSize, "1MiB").flight_bytes, int64_t{1} << 20);
  EXPECT_EQ(parsed(Id::kFlightSize, "1GiB").flight_bytes, int64_t{1} << 30);
  expect_rejected(Id::kReserve, "10%");
  expect_rejected(Id::kSwapShare, "50");
  expect_rejected(Id::kChildren, "bash");
  expect_rejected(Id::kOnLimit, "kill");
  expect_rejected(Id::kSpillDirectory, "tmp");
  expect_rejected(Id::kSpillLimit, "half");
  expect_rejected(Id::kView, "container");
  expect_rejected(Id::kExitCode, "1");
  expect_rejected(Id::kFlightSize, "1023K");
  expect_rejected(Id::kFlightSize, "1025MiB");
  expect_rejected(Id::kFlightSize, "auto");
  expect_rejected(Id::kDirectory, "relative");
  expect_rejected(Id::kDirectory, ("/" + std::string(201, 'd')).c_str());
}

TEST(DefaultDirectory, IsTheUsersOwnUnderTmpdir) {
  char path[64];
  const char* set[] = {"TMPDIR=/scratch/", nullptr};
  EXPECT_EQ(default_directory(set, 1000, path, sizeof(path)), strlen("/scratch/oomguard-1000"));
  EXPECT_STREQ(path, "/scratch/oomguard-1000");
  const char* relative[] = {"TMPDIR=scratch", nullptr};
  EXPECT_GT(default_directory(relative, 0, path, sizeof(path)), 0u);
  EXPECT_STREQ(path, "/tmp/oomguard-0");
  EXPECT_EQ(default_directory(set, 1000, path, 10), 0u);
}

}  // namespace
}  // namespace oomguard::options

#include "shim/children/environment.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

namespace oomguard::children {
namespace {

constexpr const char* kLibrary = "/opt/guard/lib/liboomguard.so";

// An environment of a test, and what becomes of it.
class Environment {
 public:
  explicit Environment(std::vector<std::string> variables) : variables_(std::move(variables)) {
    for (std::string& variable : variables_) pointers_.push_back(variable.data());
    pointers_.push_back(nullptr);
  }
  char* const* data() { return pointers_.data(); }

  std::vector<std::string> without() {
    const size_t bytes = scratch_bytes(data(), kLibrary);
    EXPECT_GT(bytes, 0u);
    // Bytes behind the end tell a write past it.
    std::vector<char*> scratch(bytes / sizeof(char*) + 2);
    char* memory = reinterpret_cast<char*>(scratch.data());
    memset(memory + bytes, 0x5a, scratch.size() * sizeof(char*) - bytes);
    std::vector<std::string> result;
    for (char* const* at = without_library(data(), kLibrary, memory, bytes); *at; ++at) {
      result.emplace_back(*at);
    }
    for (size_t i = bytes; i < scratch.size() * sizeof(char*); ++i) EXPECT_EQ(0x5a, memory[i]);
    return result;
  }

 private:
  std::vector<std::string> variables_;
  std::vector<char*> pointers_;
};

using Strings = std::vector<std::string>;

TEST(NamesLibrary, KnowsItByPathAndByName) {
  EXPECT_TRUE(names_library(kLibrary, kLibrary));
  EXPECT_TRUE(names_library("liboomguard.so", ""));
  EXPECT_TRUE(names_library("/elsewhere/liboomguard.so", kLibrary));
  EXPECT_TRUE(names_library("/mnt/guard.so", "/opt/guard.so"));
  EXPECT_FALSE(names_library("/opt/guard/lib/liboomguard.so.bak", kLibrary));
  EXPECT_FALSE(names_library("/usr/lib/libjemalloc.so.2", kLibrary));
  EXPECT_FALSE(names_library("/usr/lib/libjemalloc.so.2", ""));
}

TEST(WithoutLibrary, RemovesTheVariableThatNamesNothingElse) {
  Environment environment({"A=1", std::string("LD_PRELOAD=") + kLibrary, "B=2"});
  EXPECT_EQ((Strings{"A=1", "B=2"}), environment.without());
}

TEST(WithoutLibrary, KeepsTheOtherEntriesInOrder) {
  Environment environment(
      {std::string("LD_PRELOAD=/a.so:") + kLibrary + " /b.so::/c.so", "HOME=/"});
  EXPECT_EQ((Strings{"LD_PRELOAD=/a.so:/b.so:/c.so", "HOME=/"}), environment.without());
}

TEST(WithoutLibrary, TakesTheRunProgramMarkAndNoOtherSetting) {
  Environment environment({"OOMGUARD_BUDGET=1G", "OOMGUARD_RUN_PROGRAM=42",
                           "LD_PRELOAD=liboomguard.so", "OOMGUARD=1", "OOMGUARD_RUN=x"});
  EXPECT_EQ((Strings{"OOMGUARD_BUDGET=1G", "OOMGUARD=1", "OOMGUARD_RUN=x"}), environment.without());
}

TEST(WithoutLibrary, TreatsEveryPreloadVariable) {
  Environment environment({"LD_PRELOAD=/a.so", "X=y", "LD_PRELOAD=/b.so liboomguard.so"});
  EXPECT_EQ((Strings{"LD_PRELOAD=/a.so", "X=y", "LD_PRELOAD=/b.so"}), environment.without());
}

TEST(WithoutLibrary, HandsTheCallersOwnStringsOn) {
  Environment environment({"A=1", "LD_PRELOAD=liboomguard.so"});
  std::vector<char*> scratch(16);
  const size_t bytes = scratch_bytes(environment.data(), kLibrary);
  char* const* result = without_library(environment.data(), kLibrary, scratch.data(), bytes);
  EXPECT_EQ(environment.data()[0], result[0]);
}

TEST(WithoutLibrary, WorksWithTenThousandVariables) {
  Strings variables(10'000, "VARIABLE=value");
  variables.push_back(std::string("LD_PRELOAD=") + kLibrary);
  Environment environment(variables);
  EXPECT_EQ(10'000u, environment.without().size());
}

TEST(WithoutLibrary, GivesUpWhereTheEnvironmentGrewInTheMeantime) {
  Environment small({"LD_PRELOAD=liboomguard.so"});
  Environment grown({"LD_PRELOAD=/a/long/path/to/another.so:liboomguard.so", "A=1", "B=2", "C=3"});
  const size_t bytes = scratch_bytes(small.data(), kLibrary);
  std::vector<char*> scratch(64, reinterpret_cast<char*>(0x5a5a));
  EXPECT_EQ(grown.data(), without_library(grown.data(), kLibrary, scratch.data(), bytes));
  EXPECT_EQ(reinterpret_cast<char*>(0x5a5a), scratch[bytes / sizeof(char*) + 1]);
}

TEST(ScratchBytes, IsZeroWhereTheLibraryIsNotPreloaded) {
  EXPECT_EQ(0u, scratch_bytes(nullptr, kLibrary));
  EXPECT_EQ(0u, scratch_bytes(Environment({}).data(), kLibrary));
  EXPECT_EQ(0u, scratch_bytes(Environment({"LD_PRELOAD="}).data(), kLibrary));
  EXPECT_EQ(0u, scratch_bytes(Environment({"LD_PRELOAD=/a.so:/b.so", "A=1"}).data(), kLibrary));
  EXPECT_EQ(0u, scratch_bytes(Environment({"XLD_PRELOAD=liboomguard.so"}).data(), kLibrary));
  EXPECT_EQ(0u, scratch_bytes(Environment({"OOMGUARD_RUN_PROGRAM=1"}).data(), kLibrary));
}

TEST(FindVariable, MatchesWholeNames) {
  Environment environment({"PATHS=no", "PAT=no", "PATH=/bin:/usr/bin"});
  EXPECT_STREQ("/bin:/usr/bin", find_variable(environment.data(), "PATH"));
  EXPECT_EQ(nullptr, find_variable(environment.data(), "HOME"));
  EXPECT_EQ(nullptr, find_variable(nullptr, "PATH"));
}

}  // namespace
}  // namespace oomguard::children

#include "shim/children/children.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

#include "shim/children/scratch.h"
#include "tests/shim/children/files.h"

namespace oomguard::children {
namespace {

using options::Children;

constexpr char kLibrary[] = "/opt/lib/liboomguard.so";
constexpr char kPreload[] = "LD_PRELOAD=/opt/lib/liboomguard.so";

TEST(DropBytes, DropsNothingBeforeTheLibraryIsKnown) {
  set_library_path(nullptr);
  const char* const environment[] = {kPreload, nullptr};
  EXPECT_EQ(0u, drop_bytes(Children::kNone, {.path = "/bin/true"}, environment));
}

TEST(DropBytes, AsksForNothingWhereTheLibraryIsNotPreloaded) {
  set_library_path(kLibrary);
  const char* const environment[] = {"A=1", nullptr};
  EXPECT_EQ(0u, drop_bytes(Children::kNone, {.path = "/bin/true"}, environment));
  EXPECT_EQ(0u, drop_bytes(Children::kPython, {.path = "/bin/true"}, nullptr));
}

TEST(DropBytes, FollowsTheModeAndTheProgram) {
  set_library_path(kLibrary);
  const Files files;
  const std::string other = files.copy(own_program(), "git");
  const std::string python = files.copy(own_program(), "python3");
  const char* const environment[] = {"A=1", kPreload, nullptr};
  EXPECT_GT(drop_bytes(Children::kPython, {.path = other.c_str()}, environment), 0u);
  EXPECT_EQ(0u, drop_bytes(Children::kPython, {.path = python.c_str()}, environment));
  EXPECT_EQ(0u, drop_bytes(Children::kAll, {.path = other.c_str()}, environment));
  EXPECT_GT(drop_bytes(Children::kNone, {.path = python.c_str()}, environment), 0u);
}

TEST(Drop, UsesTheLibrarysOwnPath) {
  set_library_path("/opt/renamed.so");
  char first[] = "LD_PRELOAD=/opt/renamed.so:/b.so";
  char* environment[] = {first, nullptr};
  const size_t bytes = drop_bytes(Children::kNone, {.path = "/bin/true"}, environment);
  ASSERT_GT(bytes, 0u);
  std::vector<char*> scratch(bytes / sizeof(char*) + 1);
  EXPECT_STREQ("LD_PRELOAD=/b.so", drop(environment, scratch.data(), bytes)[0]);
}

TEST(InVforkChild, TellsAProcessFromAChildThatSharesItsMemory) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "ThreadSanitizer makes a fork of each vfork";
#endif
  set_library_path(kLibrary);  // remembers this process
  EXPECT_FALSE(in_vfork_child());
  volatile bool seen = false;
  const pid_t child = vfork();
  if (child == 0) {
    seen = in_vfork_child();
    _exit(0);
  }
  ASSERT_GT(child, 0);
  int status = 0;
  EXPECT_EQ(child, waitpid(child, &status, 0));
  EXPECT_TRUE(seen);
}

}  // namespace
}  // namespace oomguard::children

#include "shim/gpu/deepbind.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <string>

namespace oomguard::gpu {
namespace {

constexpr int kFlags = RTLD_LAZY | RTLD_DEEPBIND;

bool is_taken_away(const char* path) { return without_deepbind(path, kFlags) == RTLD_LAZY; }

TEST(GpuDeepbind, IsTakenAwayFromWhatNamesTheDriver) {
  char path[] = "/tmp/oomguard-deepbind-XXXXXX";
  const int fd = mkstemp(path);
  ASSERT_GE(fd, 0);
  close(fd);
  std::ofstream(path) << std::string(100'000, 'x') << "libcuda.so.1" << std::string(10, 'y');
  EXPECT_TRUE(is_taken_away(path));
  std::ofstream(path) << std::string(100'000, 'x') << "libcudnn";
  EXPECT_FALSE(is_taken_away(path));
  std::ofstream(path) << "";
  EXPECT_FALSE(is_taken_away(path));
  unlink(path);
}

TEST(GpuDeepbind, IsTakenAwayFromTheDriverAndItsLibraries) {
  EXPECT_TRUE(is_taken_away("libcuda.so.1"));
  EXPECT_TRUE(is_taken_away("libcudart.so.13"));
  EXPECT_TRUE(is_taken_away("libnccl.so.2"));
  EXPECT_FALSE(is_taken_away("libm.so.6"));
}

TEST(GpuDeepbind, StaysWhereNothingCanBeRead) {
  EXPECT_FALSE(is_taken_away(nullptr));
  EXPECT_FALSE(is_taken_away("/nonexistent/libcuda.so.1"));
  EXPECT_FALSE(is_taken_away("/tmp/"));
}

}  // namespace
}  // namespace oomguard::gpu

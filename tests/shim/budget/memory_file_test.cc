#include "shim/budget/memory_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <vector>

namespace oomguard::budget {
namespace {

constexpr int64_t kPage = 4096;
constexpr int64_t kMiB = 1 << 20;

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() { close(fd_); }
  operator int() const { return fd_; }

 private:
  int fd_;
};

int new_memfd() { return memfd_create("test", MFD_CLOEXEC); }

MemoryFile looked_at(int fd) {
  MemoryFile file;
  EXPECT_TRUE(file.look_at(fd));
  return file;
}

TEST(MemoryFileTest, OnlyRegularFilesInMemoryAreSome) {
  MemoryFile file;
  const Descriptor memory(new_memfd());
  EXPECT_TRUE(file.look_at(memory));
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  const Descriptor reading(pipe_ends[0]);
  const Descriptor writing(pipe_ends[1]);
  EXPECT_FALSE(file.look_at(writing));
  EXPECT_FALSE(file.look_at(Descriptor(open("/dev/null", O_WRONLY))));
  EXPECT_FALSE(file.look_at(Descriptor(socket(AF_UNIX, SOCK_STREAM, 0))));
  EXPECT_FALSE(file.look_at(Descriptor(open("/proc/self/comm", O_RDWR))));
  EXPECT_FALSE(file.look_at(-1));
}

TEST(MemoryFileTest, APathIsJudgedAsItsDescriptor) {
  MemoryFile file;
  const Descriptor memory(new_memfd());
  EXPECT_TRUE(file.look_at(("/proc/self/fd/" + std::to_string(memory)).c_str()));
  EXPECT_FALSE(file.look_at("/dev/null"));
  EXPECT_FALSE(file.look_at("/proc/self/comm"));
  EXPECT_FALSE(file.look_at("/no/such/file"));
  EXPECT_FALSE(file.look_at(static_cast<const char*>(nullptr)));
}

TEST(MemoryFileTest, AWriteBehindTheEndAddsItsPages) {
  constexpr MemoryFile kEmpty = MemoryFile::of(0, 0, INT64_MAX);
  EXPECT_EQ(kEmpty.growth_in(0, 1), kPage);
  EXPECT_EQ(kEmpty.growth_in(0, kMiB), kMiB);
  EXPECT_EQ(kEmpty.growth_in(kPage - 1, 2), 2 * kPage);
  EXPECT_EQ(kEmpty.growth_in(100 * kMiB, kMiB), kMiB) << "a hole before it is none";
  constexpr MemoryFile kOne = MemoryFile::of(10, kPage, INT64_MAX);
  EXPECT_EQ(kOne.growth_in(10, 100), 0) << "the last page has room";
  EXPECT_EQ(kOne.growth_in(10, kPage), kPage);
}

TEST(MemoryFileTest, WritingAnewIsFreeAndHolesAreNot) {
  constexpr MemoryFile kFull = MemoryFile::of(kMiB, kMiB, INT64_MAX);
  EXPECT_EQ(kFull.growth_in(0, kMiB), 0);
  EXPECT_EQ(kFull.growth_in(kMiB / 2, kMiB), kMiB / 2);
  constexpr MemoryFile kSparse = MemoryFile::of(8 * kMiB, kMiB, INT64_MAX);
  EXPECT_EQ(kSparse.growth_in(0, 2 * kMiB), 2 * kMiB) << "where the holes are is not known";
  EXPECT_EQ(kSparse.growth_in(0, 8 * kMiB), 7 * kMiB);
}

TEST(MemoryFileTest, WhatIsAllocatedBehindTheEndIsFree) {
  constexpr MemoryFile kAhead = MemoryFile::of(0, kMiB, INT64_MAX);
  EXPECT_EQ(kAhead.growth_in(0, kMiB), 0);
  EXPECT_EQ(kAhead.growth_in(0, 3 * kMiB), 2 * kMiB);
  EXPECT_EQ(kAhead.growth_to(kMiB), 0);
  EXPECT_EQ(kAhead.growth_to(3 * kMiB), 2 * kMiB);
}

TEST(MemoryFileTest, GrowsNoMoreThanItsFileSystemHolds) {
  constexpr MemoryFile kSmall = MemoryFile::of(0, 0, kMiB);
  EXPECT_EQ(kSmall.growth_in(0, 100 * kMiB), kMiB);
  EXPECT_EQ(kSmall.growth_to(100 * kMiB), kMiB);
}

TEST(MemoryFileTest, NonsenseAddsNothingAndNothingOverflows) {
  constexpr MemoryFile kEmpty = MemoryFile::of(0, 0, INT64_MAX);
  EXPECT_EQ(kEmpty.growth_in(-1, 10), 0);
  EXPECT_EQ(kEmpty.growth_in(0, 0), 0);
  EXPECT_EQ(kEmpty.growth_in(0, -5), 0);
  EXPECT_EQ(kEmpty.growth_to(-1), 0);
  EXPECT_GT(kEmpty.growth_in(0, INT64_MAX), INT64_MAX - 2 * kPage);
  EXPECT_GE(kEmpty.growth_in(INT64_MAX - 1, INT64_MAX), 0);
  EXPECT_GT(kEmpty.growth_to(INT64_MAX), INT64_MAX - 2 * kPage);
}

TEST(MemoryFileTest, ANewSizeAddsWhatItIsLonger) {
  constexpr MemoryFile kFile = MemoryFile::of(kMiB, kMiB, INT64_MAX);
  EXPECT_EQ(kFile.growth_to(0), 0);
  EXPECT_EQ(kFile.growth_to(kMiB), 0);
  EXPECT_EQ(kFile.growth_to(5 * kMiB), 4 * kMiB);
}

TEST(MemoryFileTest, OfAMappingOnlyWhatIsInTheFileCounts) {
  constexpr MemoryFile kSparse = MemoryFile::of(4 * kMiB, 0, INT64_MAX);
  EXPECT_EQ(kSparse.untouched_in(0, 4 * kMiB), 4 * kMiB);
  EXPECT_EQ(kSparse.untouched_in(3 * kMiB, 4 * kMiB), kMiB);
  EXPECT_EQ(kSparse.untouched_in(4 * kMiB, kMiB), 0);
  EXPECT_EQ(kSparse.untouched_in(-1, kMiB), 0);
}

TEST(MemoryFileTest, WhatTheKernelAddsIsWhatWasForetold) {
  const std::vector<char> data(kMiB, 'x');
  const Descriptor fd(new_memfd());
  ASSERT_EQ(ftruncate(fd, 4 * kMiB), 0);
  for (const int64_t offset : {int64_t{0}, kMiB / 2, 3 * kMiB + kMiB / 2, 9 * kMiB}) {
    const MemoryFile before = looked_at(fd);
    struct stat was;
    struct stat is;
    ASSERT_EQ(fstat(fd, &was), 0);
    ASSERT_EQ(pwrite(fd, data.data(), data.size(), offset), kMiB);
    ASSERT_EQ(fstat(fd, &is), 0);
    EXPECT_GE(before.growth_in(offset, kMiB), (is.st_blocks - was.st_blocks) * 512) << offset;
  }
  EXPECT_EQ(looked_at(fd).growth_in(9 * kMiB, kMiB), kMiB) << "there are holes somewhere";
}

TEST(MemoryFileTest, AWriteBeginsAtThePositionOrAtTheEnd) {
  const std::vector<char> data(kMiB, 'x');
  const Descriptor fd(new_memfd());
  ASSERT_EQ(write(fd, data.data(), data.size()), kMiB);
  EXPECT_EQ(looked_at(fd).growth_of_write(fd, kMiB), kMiB);
  ASSERT_EQ(lseek(fd, 0, SEEK_SET), 0);
  EXPECT_EQ(looked_at(fd).growth_of_write(fd, kMiB), 0);
  ASSERT_EQ(fcntl(fd, F_SETFL, O_APPEND), 0);
  EXPECT_EQ(looked_at(fd).growth_of_write(fd, kMiB), kMiB);
  const Descriptor reading(open(("/proc/self/fd/" + std::to_string(fd)).c_str(), O_RDONLY));
  EXPECT_EQ(looked_at(reading).growth_of_write(reading, 9 * kMiB), 0) << "EBADF";
}

TEST(ReadableFromTest, IsTheRestOfAFileOrWhatAPipeHolds) {
  const Descriptor fd(new_memfd());
  ASSERT_EQ(ftruncate(fd, 100), 0);
  ASSERT_EQ(lseek(fd, 30, SEEK_SET), 30);
  constexpr int64_t kAt = 90;
  constexpr int64_t kBeyond = 100;
  EXPECT_EQ(readable_from(fd, nullptr, kMiB), 70);
  EXPECT_EQ(readable_from(fd, nullptr, 5), 5);
  EXPECT_EQ(readable_from(fd, &kAt, kMiB), 10);
  EXPECT_EQ(readable_from(fd, &kBeyond, kMiB), 0);
  EXPECT_EQ(readable_from(fd, nullptr, 0), 0);
  EXPECT_EQ(readable_from(-1, nullptr, kMiB), 0);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const Descriptor reading(ends[0]);
  const Descriptor writing(ends[1]);
  EXPECT_EQ(readable_from(reading, nullptr, 10 * kMiB), kMiB);
}

}  // namespace
}  // namespace oomguard::budget

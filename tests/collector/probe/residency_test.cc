#include "collector/probe/residency.h"

#include <sys/mman.h>
#include <sys/wait.h>

#include <cstring>

#include "tests/collector/probe/fixture_tree.h"

namespace oomguard::probe {
namespace {

constexpr size_t kSize = 32 << 20;

// Anonymous memory without huge pages, so that what is touched is exact.
class Block {
 public:
  explicit Block(int flags = MAP_PRIVATE, size_t size = kSize) : size_(size) {
    void* base = mmap(nullptr, size, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
    base_ = static_cast<char*>(base);
    madvise(base_, size, MADV_NOHUGEPAGE);
  }
  ~Block() { munmap(base_, size_); }
  char* data() const { return base_; }
  uintptr_t address() const { return reinterpret_cast<uintptr_t>(base_); }

 private:
  char* base_;
  size_t size_;
};

void read_pages(const Block& block, size_t size) {
  for (size_t i = 0; i < size; i += 4096) {
    static_cast<void>(*static_cast<volatile char*>(block.data() + i));
  }
}

class ResidencyTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!residency_.open()) GTEST_SKIP() << "this kernel does not answer /proc/self/pagemap";
  }
  Residency residency_;
};

TEST_F(ResidencyTest, PagesOfAFileComeAndGo) {
  char path[] = "/var/tmp/oomguard-test-XXXXXX";
  const int fd = mkstemp(path);
  ASSERT_GE(fd, 0);
  unlink(path);
  constexpr size_t kPages = 4096;  // more than the kernel maps around one fault
  const std::string content(kPages * 4096, 'x');
  ASSERT_EQ(write(fd, content.data(), content.size()), static_cast<ssize_t>(content.size()));
  void* at = mmap(nullptr, content.size(), PROT_READ, MAP_SHARED, fd, 0);
  ASSERT_NE(at, MAP_FAILED);
  const auto address = reinterpret_cast<uintptr_t>(at);
  uint64_t present = 1;
  ASSERT_TRUE(residency_.file_pages_present(address, content.size(), &present));
  EXPECT_EQ(present, 0u);
  static_cast<void>(static_cast<volatile char*>(at)[content.size() - 1]);
  ASSERT_TRUE(residency_.file_pages_present(address, content.size(), &present));
  EXPECT_NE(present >> 63, 0u) << "the last page";
  EXPECT_EQ(present & 1, 0u) << "the first page";
  madvise(at, content.size(), MADV_DONTNEED);
  ASSERT_TRUE(residency_.file_pages_present(address, content.size(), &present));
  EXPECT_EQ(present, 0u);
  munmap(at, content.size());
  close(fd);
}

TEST_F(ResidencyTest, OwnMemoryIsNoPageOfAFile) {
  const Block block;
  memset(block.data(), 1, kSize);
  uint64_t present = 1;
  ASSERT_TRUE(residency_.file_pages_present(block.address(), kSize, &present));
  EXPECT_EQ(present, 0u);
  EXPECT_FALSE(residency_.file_pages_present(block.address(), 0, &present));
}

TEST_F(ResidencyTest, UntouchedMemoryIsNotThere) {
  const Block block;
  EXPECT_EQ(residency_.touched_bytes(block.address(), kSize), 0);
}

TEST_F(ResidencyTest, WrittenMemoryIsThere) {
  const Block block;
  memset(block.data(), 1, kSize);
  EXPECT_EQ(residency_.touched_bytes(block.address(), kSize), static_cast<int64_t>(kSize));
}

TEST_F(ResidencyTest, AHalfWrittenBlockIsEstimatedWithinOneSample) {
  const Block block;
  memset(block.data(), 1, kSize / 2);
  EXPECT_NEAR(static_cast<double>(residency_.touched_bytes(block.address(), kSize)), kSize / 2.0,
              kSize / 32.0);
}

TEST_F(ResidencyTest, SmallRangesAreExact) {
  const Block block;
  memset(block.data() + 4096, 1, 3 * 4096);
  EXPECT_EQ(residency_.touched_bytes(block.address(), 100 * 4096), 3 * 4096);
  EXPECT_EQ(residency_.touched_bytes(block.address() + 5000, 10), 10) << "within one page";
  EXPECT_EQ(residency_.touched_bytes(block.address(), 0), 0);
}

TEST_F(ResidencyTest, MemoryThatWasOnlyReadIsNotThere) {
  const Block block;
  read_pages(block, kSize);
  EXPECT_EQ(residency_.touched_bytes(block.address(), kSize), 0);
  EXPECT_EQ(residency_.touched_bytes(block.address(), 64 * 4096), 0);
}

TEST_F(ResidencyTest, TheHugeZeroPageIsNotThere) {
  const Block block;
  if (madvise(block.data(), kSize, MADV_HUGEPAGE) != 0) GTEST_SKIP() << "no huge pages here";
  read_pages(block, kSize);
  EXPECT_EQ(residency_.touched_bytes(block.address(), kSize), 0);
  memset(block.data(), 1, kSize);
  EXPECT_EQ(residency_.touched_bytes(block.address(), kSize), static_cast<int64_t>(kSize));
}

TEST_F(ResidencyTest, ForkDoesNotMakeTouchedMemoryUntouched) {
  const Block block;
  memset(block.data(), 1, kSize / 2);
  int stop[2];
  ASSERT_EQ(pipe(stop), 0);
  const pid_t child = fork();
  if (child == 0) {
    close(stop[1]);
    Residency own;
    const bool same = own.open() && own.touched_bytes(block.address(), kSize / 2) == kSize / 2 &&
                      own.touched_bytes(block.address() + kSize / 2, kSize / 2) == 0;
    char none;
    static_cast<void>(!::read(stop[0], &none, 1));
    _exit(same ? 0 : 1);
  }
  close(stop[0]);
  const int64_t shared = residency_.touched_bytes(block.address(), kSize / 2);
  close(stop[1]);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  Block probe_block(MAP_PRIVATE, 8 << 12);
  if (shared == 0 && status != 0) GTEST_SKIP() << "before Linux 6.7 shared pages read as untouched";
  EXPECT_EQ(shared, static_cast<int64_t>(kSize / 2));
  EXPECT_EQ(status, 0);
}

TEST_F(ResidencyTest, SharedMemoryThatWasWrittenIsThere) {
  const Block block(MAP_SHARED);
  memset(block.data(), 1, 16 * 4096);
  EXPECT_EQ(residency_.touched_bytes(block.address(), 16 * 4096), 16 * 4096);
  EXPECT_EQ(residency_.touched_bytes(block.address() + (8 << 20), 16 * 4096), 0);
}

TEST_F(ResidencyTest, GoesOnAfterTheProgramClosedEverything) {
  const Block block;
  memset(block.data(), 1, kSize);
  for (int fd = 3; fd < 1024; ++fd) ::close(fd);
  EXPECT_EQ(residency_.touched_bytes(block.address(), kSize), static_cast<int64_t>(kSize));
  EXPECT_GT(residency_.resident_text(), 0);
}

TEST_F(ResidencyTest, NonsenseRangesAreUnknownOrEmpty) {
  EXPECT_EQ(residency_.touched_bytes(UINTPTR_MAX - 10, 100), -1);
  EXPECT_EQ(residency_.touched_bytes(0, 4096), 0);
}

TEST_F(ResidencyTest, TextIsWhatSmapsCallsFileBackedAndExecutable) {
  std::ifstream maps("/proc/self/smaps");
  int64_t expected = 0;
  bool executable = false;
  for (std::string line; std::getline(maps, line);) {
    char perms[5] = "";
    unsigned long inode = 0;
    long kilobytes = 0;
    if (sscanf(line.c_str(), "%*x-%*x %4s %*s %*s %lu", perms, &inode) == 2) {
      executable = perms[2] == 'x' && inode != 0;
    } else if (executable && sscanf(line.c_str(), "Rss: %ld kB", &kilobytes) == 1) {
      expected += kilobytes * 1024;
    }
  }
  ASSERT_GT(expected, 0);
  const int64_t text = residency_.resident_text();
  EXPECT_NEAR(static_cast<double>(text), static_cast<double>(expected), 256 * 1024);
}

TEST_F(ResidencyTest, KnowsWhatAMappingIsMadeOf) {
  const Block own;
  const Block shared(MAP_SHARED);
  EXPECT_EQ(residency_.backing(own.address()), Backing::kPrivate);
  EXPECT_EQ(residency_.backing(own.address() + kSize - 1), Backing::kPrivate);
  EXPECT_EQ(residency_.backing(shared.address()), Backing::kSharedMemory);
  EXPECT_EQ(residency_.backing(reinterpret_cast<uintptr_t>(&memset)), Backing::kFile);
  EXPECT_EQ(residency_.backing(16), Backing::kUnknown);
  EXPECT_EQ(residency_.backing(UINTPTR_MAX), Backing::kUnknown);
  EXPECT_TRUE(residency_.in_file(reinterpret_cast<uintptr_t>(&memset)));
  EXPECT_FALSE(residency_.in_file(shared.address()));
}

TEST_F(ResidencyTest, AMemoryFileIsSharedMemoryOnlyWhereItIsMappedShared) {
  const int fd = memfd_create("test", MFD_CLOEXEC);
  ASSERT_EQ(ftruncate(fd, 4096), 0);
  void* shared = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  void* own = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  close(fd);
  ASSERT_NE(shared, MAP_FAILED);
  ASSERT_NE(own, MAP_FAILED);
  EXPECT_EQ(residency_.backing(reinterpret_cast<uintptr_t>(shared)), Backing::kSharedMemory);
  EXPECT_NE(residency_.backing(reinterpret_cast<uintptr_t>(own)), Backing::kSharedMemory);
  munmap(shared, 4096);
  munmap(own, 4096);
}

TEST_F(ResidencyTest, AccessibleBytesLeaveOutReservations) {
  constexpr int64_t kStray = 2 << 20;  // of the test's own heap
  const int64_t before = residency_.accessible_bytes();
  ASSERT_GT(before, 0);
  const Block block;
  EXPECT_NEAR(static_cast<double>(residency_.accessible_bytes() - before), kSize, kStray);
  ASSERT_EQ(mprotect(block.data(), kSize, PROT_NONE), 0);
  EXPECT_NEAR(static_cast<double>(residency_.accessible_bytes() - before), 0, kStray);
}

TEST(Residency, UnopenedTellsNothing) {
  const Residency residency;
  EXPECT_EQ(residency.touched_bytes(4096, 4096), -1);
  EXPECT_EQ(residency.resident_text(), -1);
}

}  // namespace
}  // namespace oomguard::probe

#include "shim/spill/store.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/vfs.h>

#include "tests/shim/spill/harness.h"

namespace oomguard::spill {
namespace {

using budget::kMiB;
using test::disk_folder;
using test::expect_in_child;
using test::kGiB;

TEST(Store, CountsWhatIsWrittenAndForgetsWhatIsPunched) {
  Store store;
  ASSERT_STREQ(store.open(disk_folder(), -1, kGiB), "");
  EXPECT_EQ(store.used(), 0) << "the trial is punched out";
  uint64_t offset;
  ASSERT_TRUE(store.reserve(8 * kMiB, &offset));
  EXPECT_EQ(store.used(), 0);
  std::string data(kMiB, 'x');
  ASSERT_TRUE(store.write(offset + kMiB, data.data(), data.size()));
  EXPECT_GE(store.used(), kMiB);
  EXPECT_LE(store.used(), 2 * kMiB);
  uint64_t from, to;
  ASSERT_TRUE(store.next_data(offset, offset + 8 * kMiB, &from, &to));
  EXPECT_EQ(from, offset + kMiB);
  EXPECT_EQ(to, offset + 2 * kMiB);
  EXPECT_FALSE(store.next_data(to, offset + 8 * kMiB, &from, &to));
  store.punch(offset, 8 * kMiB);
  EXPECT_LT(store.used(), 64 * 1024);
  store.close();
}

// Pages that were written through a mapping count before they are on disk.
TEST(Store, CountsDirtyPagesOfAMapping) {
  Store store;
  ASSERT_STREQ(store.open(disk_folder(), -1, kGiB), "");
  uint64_t offset;
  ASSERT_TRUE(store.reserve(8 * kMiB, &offset));
  void* memory = mmap(nullptr, 8 * kMiB, PROT_READ | PROT_WRITE, MAP_SHARED, store.fd(),
                      static_cast<off_t>(offset));
  ASSERT_NE(memory, MAP_FAILED);
  EXPECT_EQ(test::not_zero(static_cast<char*>(memory), 0, 4 * kMiB), 0u);
  EXPECT_EQ(store.used(), 0) << "reading takes nothing";
  memset(memory, 1, 4 * kMiB);
  EXPECT_GE(store.used(), 4 * kMiB);
  munmap(memory, 8 * kMiB);
  store.close();
}

TEST(Store, TheDefaultCapIsTheLeastOfThree) {
  Store store;
  ASSERT_STREQ(store.open(disk_folder(), -1, 100 * kMiB), "");
  EXPECT_LE(store.left(0), 100 * kMiB);
  struct statfs disk;
  ASSERT_EQ(fstatfs(store.fd(), &disk), 0);
  const Bytes free = static_cast<Bytes>(disk.f_bavail) * disk.f_bsize;
  ASSERT_STREQ(store.open(disk_folder(), -1, 1024 * kGiB), "");
  EXPECT_LE(store.left(0), std::min(2 * kGiB, free / 4 + kMiB));
  ASSERT_STREQ(store.open(disk_folder(), 10 * kMiB, 1024 * kGiB), "");
  EXPECT_EQ(store.left(0), 10 * kMiB);
  EXPECT_EQ(store.left(4 * kMiB), 6 * kMiB);
  EXPECT_EQ(store.left(11 * kMiB), 0);
  store.close();
}

TEST(Store, MemoryIsNoDisk) {
  struct statfs kind;
  if (statfs("/dev/shm", &kind) != 0 || kind.f_type != 0x01021994) {
    GTEST_SKIP() << "no tmpfs at /dev/shm";
  }
  Store store;
  EXPECT_STREQ(store.open("/dev/shm", -1, kGiB), "its folder is not on a local disk");
  EXPECT_FALSE(store.is_open());
}

TEST(Store, AFolderThatIsNotThereIsSaidSo) {
  Store store;
  EXPECT_STREQ(store.open("/proc/no-such-folder", -1, kGiB), "its folder cannot be written to");
  EXPECT_STREQ(store.open("/proc", -1, kGiB), "its folder cannot be written to");
}

TEST(Store, RlimitFsizeIsRespected) {
  expect_in_child([] {
    Store store;
    rlimit limit{16 * kMiB, 16 * kMiB};
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
    ASSERT_STREQ(store.open(disk_folder(), -1, kGiB), "");
    uint64_t offset;
    EXPECT_TRUE(store.reserve(8 * kMiB, &offset));
    EXPECT_FALSE(store.reserve(16 * kMiB, &offset)) << "and no SIGXFSZ";
    limit.rlim_cur = 4096;
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
    EXPECT_STREQ(store.open(disk_folder(), -1, kGiB), "RLIMIT_FSIZE is in the way");
  });
}

class Places : public testing::Test {
 protected:
  void SetUp() override { OOMGUARD_SKIP_UNDER_SANITIZER(); }
};

TEST_F(Places, WithoutADiskNothingIsLentAndTheReasonIsKnown) {
  expect_in_child([] {
    test::configure(kGiB, -1, "/proc/no-such-folder");
    test::Raw raw;
    test::HeapBlock block(32 * kMiB);
    EXPECT_EQ(test::lend(raw).outcome, Outcome::kNoDisk);
    raw.run([] { EXPECT_STREQ(obstacle(), "its folder cannot be written to"); });
    EXPECT_FALSE(active());
  });
}

TEST_F(Places, ALowRlimitFsizeLendsNothing) {
  expect_in_child([] {
    test::configure();
    test::Raw raw;
    test::HeapBlock block(32 * kMiB);
    const rlimit limit{16 * kMiB, 16 * kMiB};
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
    EXPECT_EQ(test::lend(raw).outcome, Outcome::kNoDisk);
    test::fill(block.data(), 0, block.size(), 1);
    EXPECT_EQ(test::wrong(block.data(), 0, block.size(), 1), 0u);
    EXPECT_EQ(test::lent_mappings(), 0u);
  });
}

TEST_F(Places, TheProgramSeesNoDescriptor) {
  expect_in_child([] {
    test::configure();
    test::Raw raw;
    test::HeapBlock block(32 * kMiB);
    const int before = dup(0);
    close(before);
    ASSERT_EQ(test::lend(raw).outcome, Outcome::kLent);
    const int after = dup(0);
    close(after);
    EXPECT_EQ(before, after);
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code gone;
      const auto target = std::filesystem::read_symlink(entry.path(), gone).string();
      EXPECT_EQ(target.find("(deleted)"), std::string::npos) << target;
    }
  });
}

}  // namespace
}  // namespace oomguard::spill

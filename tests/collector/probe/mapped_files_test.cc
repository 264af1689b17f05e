#include "collector/probe/mapped_files.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>
#include <vector>

namespace oomguard::probe {
namespace {

std::vector<MappedFile> files_of(const std::string& text, size_t capacity, Bytes least) {
  const int fd = memfd_create("maps", MFD_CLOEXEC);
  EXPECT_EQ(write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  lseek(fd, 0, SEEK_SET);
  CharStream in(fd);
  std::vector<MappedFile> files(capacity);
  files.resize(find_mapped_files_in(in, files.data(), capacity, least));
  close(fd);
  return files;
}

TEST(MappedFiles, TheLargestComesFirstAndMappingsOfOneFileAreOne) {
  const auto files = files_of(
      "1000-3000 r--p 00000000 fd:1a 1     /a/small.so\n"
      "10000-20000 r--s 00000000 fd:1a 2     /weights/model.safetensors\n"
      "3000-8000 r-xp 00002000 fd:1a 1     /a/small.so\n"
      "30000-38000 r--s 00000000 fd:1b 2     /other/disk.bin (deleted)\n",
      8, 0);
  ASSERT_EQ(files.size(), 3u);
  EXPECT_STREQ(files[0].name.text, "model.safetensors");
  EXPECT_EQ(files[0].bytes, 0x10000);
  EXPECT_STREQ(files[1].name.text, "disk.bin (deleted)");
  EXPECT_STREQ(files[2].name.text, "small.so");
  EXPECT_EQ(files[2].bytes, 0x7000);
  EXPECT_EQ(files[2].start, 0x3000u) << "its largest mapping";
  EXPECT_EQ(files[2].size, 0x5000u);
}

TEST(MappedFiles, MemoryIsNoFile) {
  EXPECT_TRUE(files_of("1000-9000 rw-p 00000000 00:00 0 \n"
                       "9000-90000 rw-s 00000000 00:01 77     /memfd:x (deleted)\n"
                       "90000-99000 rw-p 00000000 00:00 0     [heap]\n",
                       8, 0)
                  .empty());
}

TEST(MappedFiles, SmallOnesAreLeftOutAndTheLargestAreKept) {
  std::string text;
  for (int i = 1; i <= 9; ++i) {
    text += std::to_string(i) + "0000-" + std::to_string(i) + std::to_string(i) +
            "000 r--s 00000000 fd:1 " + std::to_string(i) + "   /f" + std::to_string(i) + "\n";
  }
  const auto files = files_of(text, 3, 0);
  ASSERT_EQ(files.size(), 3u);
  EXPECT_STREQ(files[0].name.text, "f9");
  EXPECT_STREQ(files[2].name.text, "f7");
  EXPECT_EQ(files_of(text, 3, 0x8000).size(), 2u);
  EXPECT_TRUE(files_of(text, 0, 0).empty());
  EXPECT_TRUE(files_of("", 3, 0).empty());
}

TEST(MappedFiles, OwnLibrariesAreFound) {
  MappedFile files[8];
  const size_t count = find_mapped_files(files, 8, 4096);
  ASSERT_GT(count, 0u);
  for (size_t i = 0; i < count; ++i) {
    EXPECT_NE(files[i].name.text[0], '\0');
    EXPECT_EQ(std::string(files[i].name.text).find('/'), std::string::npos);
  }
}

}  // namespace
}  // namespace oomguard::probe

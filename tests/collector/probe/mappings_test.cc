#include "collector/probe/mappings.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>
#include <vector>

namespace oomguard::probe {
namespace {

std::vector<Mapping> mappings_of(const std::string& text) {
  const int fd = memfd_create("maps", MFD_CLOEXEC);
  EXPECT_EQ(write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  lseek(fd, 0, SEEK_SET);
  CharStream in(fd);
  std::vector<Mapping> mappings;
  for (Mapping mapping; mappings.size() < 100 && read_mapping(in, &mapping);) {
    mappings.push_back(mapping);
  }
  close(fd);
  return mappings;
}

TEST(Mappings, ALineOfAFile) {
  const auto mappings =
      mappings_of("7f00deadb000-7f00deadc000 r-xp 00002000 fd:1a 4711       /usr/lib/libm.so.6\n");
  ASSERT_EQ(mappings.size(), 1u);
  const Mapping& mapping = mappings[0];
  EXPECT_EQ(mapping.start, 0x7f00deadb000u);
  EXPECT_EQ(mapping.end, 0x7f00deadc000u);
  EXPECT_TRUE(mapping.readable && mapping.executable && !mapping.writable && !mapping.shared);
  EXPECT_EQ(mapping.offset, 0x2000u);
  EXPECT_EQ(mapping.major, 0xfdu);
  EXPECT_EQ(mapping.minor, 0x1au);
  EXPECT_EQ(mapping.inode, 4711u);
  EXPECT_STREQ(mapping.name, "/usr/lib/libm.so.6");
  EXPECT_TRUE(mapping.of_file());
}

TEST(Mappings, LinesWithoutAName) {
  const auto mappings = mappings_of(
      "1000-2000 rw-p 00000000 00:00 0 \n"
      "2000-3000 rw-s 00000000 00:01 77                 /dev/zero (deleted)\n");
  ASSERT_EQ(mappings.size(), 2u);
  EXPECT_FALSE(mappings[0].of_file());
  EXPECT_STREQ(mappings[0].name, "");
  EXPECT_TRUE(mappings[1].shared && mappings[1].of_file() && mappings[1].of_unnamed_memory());
}

TEST(Mappings, ALongNameIsCutOff) {
  const auto mappings =
      mappings_of("1000-2000 rw-p 00000000 00:00 0 " + std::string(5000, 'n') + "\n2000-3000 r");
  ASSERT_EQ(mappings.size(), 2u);
  EXPECT_EQ(std::string(mappings[0].name), std::string(sizeof(Mapping::name) - 1, 'n'));
  EXPECT_EQ(mappings[1].start, 0x2000u);
}

TEST(Mappings, NonsenseDoesNotHang) {
  for (const char* text : {"\n\n\n", "zzzz", "-", "1000-", "1000-2000 rw-p zz:zz\n", ""}) {
    EXPECT_LT(mappings_of(text).size(), 100u) << text;
  }
}

}  // namespace
}  // namespace oomguard::probe

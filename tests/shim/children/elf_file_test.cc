#include "shim/children/elf_file.h"

#include <elf.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstring>

#include "tests/shim/children/files.h"

namespace oomguard::children {
namespace {

struct Answer {
  bool is_elf = false;
  ElfFacts facts;
};

Answer read(const std::string& path) {
  Answer answer;
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  EXPECT_GE(fd, 0) << path;
  answer.is_elf = read_elf(fd, &answer.facts);
  close(fd);
  return answer;
}

TEST(ReadElf, KnowsANativeDynamicProgram) {
  const Answer answer = read(own_program());
  EXPECT_TRUE(answer.is_elf);
  EXPECT_TRUE(answer.facts.native);
  EXPECT_TRUE(answer.facts.interpreted);
  EXPECT_TRUE(answer.facts.glibc);
  EXPECT_FALSE(answer.facts.python);
}

TEST(ReadElf, FindsThePythonSymbol) {
  const Answer answer = read(OOMGUARD_EMBEDDED_PYTHON);
  EXPECT_TRUE(answer.facts.native);
  EXPECT_TRUE(answer.facts.python);
}

TEST(ReadElf, FindsAnInterpreterThatIsInstalledHere) {
  const std::string path = "/usr/bin/python3";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path;
  const Answer answer = read(path);
  EXPECT_TRUE(answer.facts.native);
  EXPECT_TRUE(answer.facts.python);
}

TEST(ReadElf, SeesAnotherClassAndAnotherMachineAsForeign) {
  const Files files;
  std::string bytes = contents(own_program());
  bytes[EI_CLASS] = ELFCLASS32;
  EXPECT_FALSE(read(files.write("narrow", bytes)).facts.native);
  bytes[EI_CLASS] = ELFCLASS64;
  const Elf64_Half machine = EM_RISCV;
  memcpy(bytes.data() + offsetof(Elf64_Ehdr, e_machine), &machine, sizeof(machine));
  const Answer answer = read(files.write("machine", bytes));
  EXPECT_TRUE(answer.is_elf);
  EXPECT_FALSE(answer.facts.native);
}

TEST(ReadElf, SeesAnotherLoaderThanGlibcs) {
  const Files files;
  std::string bytes = contents(own_program());
  const size_t at = bytes.find("/ld-linux");
  ASSERT_NE(std::string::npos, at);
  memcpy(bytes.data() + at, "/ld-musl-", 9);
  const Answer answer = read(files.write("musl", bytes));
  EXPECT_TRUE(answer.facts.interpreted);
  EXPECT_FALSE(answer.facts.glibc);
}

#ifdef OOMGUARD_STATIC_CHILD
TEST(ReadElf, SeesThatAStaticProgramHasNoLoader) {
  const Answer answer = read(OOMGUARD_STATIC_CHILD);
  EXPECT_TRUE(answer.facts.native);
  EXPECT_FALSE(answer.facts.interpreted);
}
#endif

TEST(ReadElf, IsNotFooledByShortAndOtherFiles) {
  const Files files;
  EXPECT_FALSE(read(files.write("empty", "")).is_elf);
  EXPECT_FALSE(read(files.write("script", "#!/bin/sh\nexit 0\n")).is_elf);
  EXPECT_FALSE(read(files.write("three", "\177EL")).is_elf);
  const Answer answer =
      read(files.write("head", std::string("\177ELF\2\1\1", 7) + std::string(9, 0)));
  EXPECT_TRUE(answer.is_elf);
  EXPECT_FALSE(answer.facts.native);
}

// Every byte of the headers and of the dynamic section, wrong in turn: no crash, no endless loop.
TEST(ReadElf, SurvivesBrokenHeaders) {
  const Files files;
  const std::string bytes = contents(OOMGUARD_EMBEDDED_PYTHON);
  const std::string path = files.write("broken", bytes);
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  int elf = 0;
  for (off_t at = 4; at < 6000 && at < static_cast<off_t>(bytes.size()); ++at) {
    const char wrong = static_cast<char>(0xff ^ bytes[static_cast<size_t>(at)]);
    ASSERT_EQ(1, pwrite(fd, &wrong, 1, at));
    ElfFacts facts;
    elf += read_elf(fd, &facts);
    ASSERT_EQ(1, pwrite(fd, &bytes[static_cast<size_t>(at)], 1, at));
  }
  close(fd);
  EXPECT_GT(elf, 1000);
}

TEST(ReadElf, SurvivesTruncationAnywhere) {
  const Files files;
  const std::string bytes = contents(OOMGUARD_EMBEDDED_PYTHON);
  const std::string path = files.write("short", bytes);
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  ElfFacts facts;
  ASSERT_TRUE(read_elf(fd, &facts) && facts.python);
  for (off_t size = static_cast<off_t>(bytes.size()); size > 64; size -= 37) {
    ASSERT_EQ(0, ftruncate(fd, size));
    EXPECT_TRUE(read_elf(fd, &facts));
  }
  EXPECT_FALSE(facts.python);
  close(fd);
}

TEST(GnuHash, IsTheLoadersOwn) {
  // From the description of the format: the empty name and "printf".
  EXPECT_EQ(0x00001505u, gnu_hash(""));
  EXPECT_EQ(0x156b2bb8u, gnu_hash("printf"));
}

}  // namespace
}  // namespace oomguard::children

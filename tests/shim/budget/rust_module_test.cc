#include "shim/budget/rust_module.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>

#include "tests/shim/budget/harness.h"
#include "tests/shim/budget/modules.h"

namespace oomguard::budget {
namespace {

using test::elf_with_comment;
using test::ElfParts;
using test::Folder;
using test::kRustComment;
using test::write_file;

// A module made by rustc on this machine: named by OOMGUARD_TEST_RUST_ELF, or one of the usual
// wheels of an interpreter on PATH, or made now by rustc.
std::string rust_module(const Folder& folder) {
  if (const char* named = getenv("OOMGUARD_TEST_RUST_ELF"); named != nullptr) return named;
  const std::string source = folder / "lib.rs";
  const std::string made = folder / "librust.so";
  write_file(source, "#[no_mangle] pub extern \"C\" fn answer() -> i32 { 42 }\n");
  const std::string find_wheel =
      "for m in rpds orjson tokenizers pydantic_core safetensors; do python3 -c \""
      "import importlib.util as u, glob, os; s = u.find_spec('$m'); "
      "print(glob.glob(os.path.dirname(s.origin) + '/*.so')[0])\" 2>/dev/null && exit 0; done; ";
  const std::string compile = "rustc --crate-type cdylib -o '" + made + "' '" + source +
                              "' >/dev/null 2>&1 && echo '" + made + "'";
  FILE* pipe = popen((find_wheel + compile).c_str(), "r");
  if (pipe == nullptr) return "";
  char line[1024] = "";
  if (fgets(line, sizeof line, pipe) == nullptr) line[0] = '\0';
  pclose(pipe);
  std::string path = line;
  if (!path.empty() && path.back() == '\n') path.pop_back();
  return path;
}

TEST(RustModuleTest, AModuleThatRustcMadeIsKnownByItsComment) {
  const Folder folder;
  const std::string path = rust_module(folder);
  if (path.empty()) {
    GTEST_SKIP() << "no module made by rustc: set OOMGUARD_TEST_RUST_ELF, or put a python3 with "
                    "one of the usual wheels or a working rustc on PATH";
  }
  EXPECT_TRUE(made_by_rust(path.c_str())) << path;
}

TEST(RustModuleTest, LibcAndThisProgramAreNotMadeByRust) {
  Dl_info libc{};
  ASSERT_NE(dladdr(reinterpret_cast<void*>(&strlen), &libc), 0);
  EXPECT_FALSE(made_by_rust(libc.dli_fname));
  EXPECT_FALSE(made_by_rust("/proc/self/exe"));
}

TEST(RustModuleTest, WhatIsNoFileIsNotMadeByRust) {
  const Folder folder;
  EXPECT_FALSE(made_by_rust("/does/not/exist"));
  EXPECT_FALSE(made_by_rust(""));
  EXPECT_FALSE(made_by_rust(folder.path().c_str()));
  EXPECT_FALSE(made_by_rust("/dev/null"));
}

class MadeByRust : public testing::Test {
 protected:
  bool judge(const std::string& bytes) {
    write_file(folder_ / "module.so", bytes);
    return made_by_rust((folder_ / "module.so").c_str());
  }
  Folder folder_;
};

TEST_F(MadeByRust, FindsTheNameWhereverItStandsInTheComment) {
  EXPECT_TRUE(judge(elf_with_comment(kRustComment).bytes()));
  EXPECT_TRUE(judge(elf_with_comment("rustc version 1").bytes()));
  for (const size_t before : {1, 200, 243, 250, 255, 256, 257, 500, 511, 512, 60'000}) {
    EXPECT_TRUE(judge(elf_with_comment(std::string(before, 'x') + "rustc version 1").bytes()))
        << before;
  }
}

TEST_F(MadeByRust, DoesNotTakeOtherCompilersForIt) {
  EXPECT_FALSE(judge(elf_with_comment("GCC: (Debian 12.2.0) 12.2.0").bytes()));
  EXPECT_FALSE(judge(elf_with_comment("rustc versio").bytes()));
  EXPECT_FALSE(judge(elf_with_comment("").bytes()));
}

TEST_F(MadeByRust, LooksInTheCommentSectionOnly) {
  ElfParts elf = elf_with_comment(kRustComment);
  std::replace(elf.names.begin(), elf.names.end(), 'm', 'n');  // .connent
  EXPECT_FALSE(judge(elf.bytes()));
}

TEST_F(MadeByRust, AFileCutAnywhereIsNoHarm) {
  const std::string whole = elf_with_comment(kRustComment).bytes();
  for (size_t length = 0; length < whole.size(); ++length) judge(whole.substr(0, length));
  EXPECT_FALSE(judge(whole.substr(0, sizeof(Elf64_Ehdr) - 1)));
  EXPECT_FALSE(judge(whole.substr(0, whole.size() - 1))) << "the names of the sections are cut";
}

TEST_F(MadeByRust, HostileHeadersAreNoHarm) {
  using Spoil = void (*)(ElfParts&);
  const Spoil spoils[] = {
      [](ElfParts& elf) { elf.header.e_shoff = UINT64_MAX; },
      [](ElfParts& elf) { elf.header.e_shoff = UINT64_MAX - 64; },
      [](ElfParts& elf) { elf.header.e_shoff = INT64_MAX; },
      [](ElfParts& elf) { elf.header.e_shstrndx = 0xffff; },
      [](ElfParts& elf) { elf.header.e_shentsize = 1; },
      [](ElfParts& elf) { elf.header.e_ident[EI_CLASS] = ELFCLASS32; },
      [](ElfParts& elf) { elf.header.e_ident[0] = 'x'; },
      [](ElfParts& elf) { elf.header.e_shnum = 0; },
      [](ElfParts& elf) { elf.sections[1].sh_offset = UINT64_MAX; },
      [](ElfParts& elf) { elf.sections[1].sh_name = UINT32_MAX; },
      [](ElfParts& elf) { elf.sections[1].sh_type = SHT_NOBITS; },
      [](ElfParts& elf) { elf.sections[2].sh_offset = UINT64_MAX - 4; },
      [](ElfParts& elf) { elf.sections[2].sh_size = 0; },
  };
  for (size_t i = 0; i < std::size(spoils); ++i) {
    ElfParts elf = elf_with_comment(kRustComment);
    spoils[i](elf);
    EXPECT_FALSE(judge(elf.bytes())) << "spoil " << i;
  }
}

TEST_F(MadeByRust, SizesThatLieAreCutAndStillRead) {
  ElfParts elf = elf_with_comment(kRustComment);
  elf.sections[1].sh_size = UINT64_MAX;
  EXPECT_TRUE(judge(elf.bytes()));
  elf.header.e_shnum = 0xffff;
  EXPECT_TRUE(judge(elf.bytes()));
}

// A comment for each of 65,535 sections would be 17 million reads, in the middle of a request.
TEST_F(MadeByRust, ReadsOneCommentSectionHoweverManyThereAre) {
  ElfParts elf = elf_with_comment(std::string(65536, 'x'));
  const Elf64_Shdr comment = elf.sections[1];
  elf.sections.resize(2000, comment);
  elf.header.e_shnum = 2000;
  const auto start = std::chrono::steady_clock::now();
  EXPECT_FALSE(judge(elf.bytes()));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(200));
}

TEST_F(MadeByRust, WhetherItUnwindsIsReadFromItsDynamicSymbols) {
  const auto can_unwind = [this](const char* symbols) {
    ElfParts elf = elf_with_comment(symbols);
    std::replace(elf.names.begin(), elf.names.end(), 'c', 'd');  // .domment
    elf.names.replace(1, 8, std::string(".dynstr\0", 8));
    elf.sections[1].sh_type = SHT_STRTAB;
    write_file(folder_ / "module.so", elf.bytes());
    return unwinds((folder_ / "module.so").c_str());
  };
  EXPECT_TRUE(can_unwind("malloc_Unwind_RaiseException"));
  EXPECT_FALSE(can_unwind("malloc_Unwind_Backtrace"));
  EXPECT_FALSE(unwinds("/does/not/exist"));
}

}  // namespace
}  // namespace oomguard::budget

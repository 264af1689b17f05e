#include "shim/budget/callers.h"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "tests/shim/budget/harness.h"
#include "tests/shim/budget/modules.h"

namespace oomguard::budget {
namespace {

using test::elf_with_comment;
using test::ElfParts;
using test::Folder;
using test::expect_in_child;
using test::kRustComment;
using test::map_module;
using test::write_file;

TEST(CallersTest, WhoHandlesNullMayBeRefusedFromTheSizesOfTheDesign) {
  EXPECT_EQ(refusable_from(Caller::kInterpreter), 1);
  EXPECT_EQ(refusable_from(Caller::kExtension), 64 * 1024);
  EXPECT_EQ(refusable_from(Caller::kOther), 16 * 1024 * 1024);
  EXPECT_EQ(refusable_from(Caller::kUnknown), 16 * 1024 * 1024);
  EXPECT_EQ(refusable_from(Caller::kAborts), INT64_MAX);
}

struct PathCase {
  const char* path;
  Caller expected;
};
void PrintTo(const PathCase& path, std::ostream* out) { *out << path.path; }
class ClassifyPath : public testing::TestWithParam<PathCase> {};

TEST_P(ClassifyPath, KnowsTheKind) {
  EXPECT_EQ(classify_path(GetParam().path), GetParam().expected) << GetParam().path;
}

INSTANTIATE_TEST_SUITE_P(
    Callers, ClassifyPath,
    testing::Values(
        PathCase{"/usr/lib/x86_64-linux-gnu/libpython3.11.so.1.0", Caller::kInterpreter},
        PathCase{"/opt/conda/lib/libpython3.12.so", Caller::kInterpreter},
        PathCase{"/usr/lib/python3.11/lib-dynload/_json.cpython-311-x86_64-linux-gnu.so",
                 Caller::kInterpreter},
        PathCase{"/v/lib/python3.11/site-packages/numpy/core/_multiarray_umath.cpython-311-x.so",
                 Caller::kExtension},
        PathCase{"/v/lib/python3.11/site-packages/torch/lib/libtorch_cpu.so", Caller::kExtension},
        PathCase{"/v/lib/python3.11/site-packages/torch/lib/libc10.so", Caller::kExtension},
        PathCase{"/usr/lib/python3/dist-packages/PIL/_imaging.so", Caller::kExtension},
        PathCase{"/home/u/src/mod.cpython-312-x86_64-linux-gnu.so", Caller::kExtension},
        PathCase{"/home/u/src/mod.abi3.so", Caller::kExtension},
        PathCase{"/lib/x86_64-linux-gnu/libc.so.6", Caller::kOther},
        PathCase{"/usr/lib/x86_64-linux-gnu/libstdc++.so.6.0.30", Caller::kOther},
        PathCase{"/usr/bin/some-program", Caller::kOther}, PathCase{"", Caller::kOther},
        PathCase{"no-slash", Caller::kOther}));

INSTANTIATE_TEST_SUITE_P(
    CallersThatAbort, ClassifyPath,
    testing::Values(
        PathCase{"/v/site-packages/numpy.libs/libopenblas64_p-r0-0cf96a72.3.23.dev.so",
                 Caller::kAborts},
        PathCase{"/v/site-packages/numpy.libs/libscipy_openblas64_-ff651d7f.so", Caller::kAborts},
        PathCase{"/v/site-packages/torch/lib/libgomp-a34b3233.so.1", Caller::kAborts},
        PathCase{"/usr/lib/x86_64-linux-gnu/libgomp.so.1.0.0", Caller::kAborts},
        PathCase{"/opt/conda/lib/libiomp5.so", Caller::kAborts},
        PathCase{"/usr/lib/llvm-14/lib/libomp.so.5", Caller::kAborts},
        PathCase{"/v/site-packages/x/libomp-abc.so", Caller::kAborts},
        PathCase{"/opt/conda/lib/libmkl_rt.so.2", Caller::kAborts},
        PathCase{"/v/site-packages/jaxlib/xla_extension.so", Caller::kAborts},
        // The name of a folder says nothing.
        PathCase{"/opt/libgomp/lib/libother.so", Caller::kOther},
        PathCase{"/opt/libompanion.so", Caller::kOther}));

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

TEST(CallersTest, AModuleThatRustcMadeIsKnownByItsComment) {
  const Folder folder;
  const std::string path = rust_module(folder);
  if (path.empty()) {
    GTEST_SKIP() << "no module made by rustc: set OOMGUARD_TEST_RUST_ELF, or put a python3 with "
                    "one of the usual wheels or a working rustc on PATH";
  }
  EXPECT_TRUE(made_by_rust(path.c_str())) << path;
}

TEST(CallersTest, LibcAndThisProgramAreNotMadeByRust) {
  Dl_info libc{};
  ASSERT_NE(dladdr(reinterpret_cast<void*>(&strlen), &libc), 0);
  EXPECT_FALSE(made_by_rust(libc.dli_fname));
  EXPECT_FALSE(made_by_rust("/proc/self/exe"));
}

TEST(CallersTest, WhatIsNoFileIsNotMadeByRust) {
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

// The table of modules is made once and kept: each test that asks for one runs in a child.
TEST(CallersTest, AnAddressBelongsToTheModuleThatIsMappedThere) {
  OOMGUARD_SKIP_UNDER_TSAN();
  expect_in_child([] {
    Dl_info libc{};
    ASSERT_NE(dladdr(reinterpret_cast<void*>(&strlen), &libc), 0);
    char name[64] = "";
    const auto in_libc = reinterpret_cast<uintptr_t>(dlsym(RTLD_DEFAULT, "malloc_trim"));
    EXPECT_EQ(classify(in_libc), Caller::kOther);
    module_name(in_libc, name, sizeof name);
    EXPECT_NE(std::string(libc.dli_fname).find(name), std::string::npos) << name;
    EXPECT_EQ(std::string(name).rfind("libc", 0), 0u) << name;
    const auto here = reinterpret_cast<uintptr_t>(test::interpreter_caller());
    module_name(here, name, sizeof name);
    EXPECT_STREQ(name, "oomguard_budget_test");
    EXPECT_EQ(classify(here), Caller::kOther);
  });
}

TEST(CallersTest, AddressesOutsideOfModulesAreUnknownAndNameless) {
  expect_in_child([] {
    int on_stack = 0;
    char name[64] = "x";
    for (const uintptr_t address :
         {uintptr_t{0}, uintptr_t{1}, reinterpret_cast<uintptr_t>(&on_stack), UINTPTR_MAX}) {
      EXPECT_EQ(classify(address), Caller::kUnknown);
      module_name(address, name, sizeof name);
      EXPECT_STREQ(name, "");
    }
  });
}

TEST(CallersTest, NamesAreCutToTheirRoom) {
  expect_in_child([] {
    char name[5];
    module_name(reinterpret_cast<uintptr_t>(test::interpreter_caller()), name, sizeof name);
    EXPECT_STREQ(name, "oomg");
  });
}

TEST(CallersTest, TheModuleOfTheInterpretersAddressIsTheInterpreter) {
  expect_in_child([] {
    const auto here = reinterpret_cast<uintptr_t>(test::interpreter_caller());
    set_interpreter_address(here);
    EXPECT_EQ(classify(here), Caller::kInterpreter);
    EXPECT_EQ(classify(reinterpret_cast<uintptr_t>(&classify_path)),
              Caller::kInterpreter);
  });
}

TEST(CallersTest, ARustModuleAbortsWhereverItIsInstalled) {
  expect_in_child([] {
    const Folder folder;
    const uintptr_t rust = map_module(folder / "site-packages/x/rust.abi3.so",
                                      elf_with_comment(kRustComment).bytes());
    const uintptr_t plain = map_module(folder / "site-packages/x/plain.abi3.so",
                                       elf_with_comment("GCC: 12").bytes());
    ASSERT_NE(rust, 0u);
    ASSERT_NE(plain, 0u);
    EXPECT_EQ(classify(rust), Caller::kAborts);
    EXPECT_EQ(classify(plain), Caller::kExtension);
    char name[64];
    module_name(rust, name, sizeof name);
    EXPECT_STREQ(name, "rust.abi3.so");
  });
}

TEST(CallersTest, AModuleThatIsLoadedLaterIsFoundAfterAShortWhile) {
  expect_in_child([] {
    const Folder folder;
    classify(1);  // builds the table
    const uintptr_t late = map_module(folder / "late.abi3.so");
    Caller caller = classify(late);
    for (int i = 0; i < 100 && caller == Caller::kUnknown; ++i) {
      usleep(10'000);
      caller = classify(late);
    }
    EXPECT_EQ(caller, Caller::kExtension);
  });
}

TEST(CallersTest, ThreadsMayAskWhileTheTableIsBuilt) {
  const auto here = reinterpret_cast<uintptr_t>(test::interpreter_caller());
  expect_in_child([here] {
    std::thread asking[4];
    for (std::thread& thread : asking) {
      thread = std::thread([here] {
        for (int i = 0; i < 2000; ++i) {
          const Caller caller = classify(i % 2 == 0 ? here : uintptr_t{1});
          EXPECT_TRUE(caller == Caller::kOther || caller == Caller::kUnknown);
        }
      });
    }
    for (std::thread& thread : asking) thread.join();
    EXPECT_EQ(classify(here), Caller::kOther);
  });
}

}  // namespace
}  // namespace oomguard::budget

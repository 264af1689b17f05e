#include "shim/budget/callers.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <thread>

#include "tests/shim/budget/harness.h"
#include "tests/shim/budget/modules.h"

namespace oomguard::budget {
namespace {

using test::elf_with_comment;
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
  EXPECT_EQ(refusable_from(Caller::kCxxRuntime), 16 * 1024 * 1024);
  EXPECT_EQ(refusable_from(Caller::kAborts), INT64_MAX);
  EXPECT_EQ(refusable_from(Caller::kAbortsOnObjects), INT64_MAX);
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
        PathCase{"/usr/lib/x86_64-linux-gnu/libstdc++.so.6.0.30", Caller::kCxxRuntime},
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

// The table of modules is made once and kept: each test that asks for one runs in a child.
TEST(CallersTest, AnAddressBelongsToTheModuleThatIsMappedThere) {
  OOMGUARD_SKIP_UNDER_SANITIZERS();
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
    EXPECT_TRUE(never_refused(classify(rust)));
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

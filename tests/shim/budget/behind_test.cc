#include "shim/budget/behind.h"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "tests/shim/budget/harness.h"
#include "tests/shim/budget/modules.h"

namespace oomguard::budget {
namespace {

using test::elf_with_comment;
using test::expect_in_child;
using test::Folder;
using test::kRustComment;
using test::map_module;

struct Code {
  const char* bytes;  // the last eight before the address
  bool is_call;
};
class FollowsCall : public testing::TestWithParam<Code> {};

TEST_P(FollowsCall, KnowsTheFormsOfACall) {
  unsigned char before[8];
  memcpy(before, GetParam().bytes, sizeof before);
  EXPECT_EQ(follows_call(before), GetParam().is_call);
}

#if defined(__x86_64__)
INSTANTIATE_TEST_SUITE_P(
    X86, FollowsCall,
    testing::Values(Code{"\x90\x90\x90\xe8\x01\x02\x03\x04", true},   // call rel32
                    Code{"\x90\x90\x90\x90\x90\x90\xff\xd0", true},   // call *%rax
                    Code{"\x90\x90\x90\x90\x90\xff\x50\x18", true},   // call *0x18(%rax)
                    Code{"\x90\x90\xff\x15\x01\x02\x03\x04", true},   // call *rel32(%rip)
                    Code{"\x90\xff\x94\x24\x80\x00\x00\x00", true},   // call *0x80(%rsp)
                    Code{"\x90\x90\x90\x90\x90\x90\xff\xe0", false},  // jmp *%rax
                    Code{"\x90\x90\x90\xe9\x01\x02\x03\x04", false},  // jmp rel32
                    Code{"\0\0\0\0\0\0\0\0", false}));
#endif

// Calls `behind` as a hook does: from a frame of ours whose return address is the caller's, with
// `word` on the caller's stack above it. A stand-in for the interpreter: this program.
[[gnu::noinline]] Caller ask(Caller nearest) {
  return behind(nearest, reinterpret_cast<uintptr_t>(__builtin_return_address(0)));
}

[[gnu::noinline]] Caller ask_with_above(Caller nearest, uintptr_t word) {
  volatile uintptr_t above[4] = {word, word, word, word};
  const Caller answer = ask(nearest);
  return above[0] == word ? answer : Caller::kUnknown;
}

// A module of that file whose code holds calls only; an address that follows one.
uintptr_t map_calls(const std::string& path, std::string bytes) {
  bytes.resize(4096);
  for (int i = 0; i < 400; ++i) bytes += std::string("\x90\x90\x90\xe8\0\0\0\0", 8);
  return map_module(path, bytes) - 100 + 4096 + 800;
}

std::string rust_bytes(bool unwinding) {
  test::ElfParts elf = elf_with_comment(kRustComment);
  if (unwinding) {
    // .dynstr stands for itself: the names of the sections hold its text too.
    elf.names += std::string(".dynstr\0_Unwind_RaiseException\0", 31);
    elf.header.e_shoff += 31;
    elf.sections[1].sh_offset += 31;
    elf.sections[2].sh_size += 31;
    Elf64_Shdr strings = elf.sections[2];
    strings.sh_name = 20;
    elf.sections.push_back(strings);
    elf.header.e_shnum = 4;
  }
  return elf.bytes();
}

class BehindTest : public testing::Test {
 protected:
  void SetUp() override {
    OOMGUARD_SKIP_UNDER_TSAN();
    set_interpreter_address(reinterpret_cast<uintptr_t>(test::interpreter_caller()));
  }
  Folder folder_;
};

TEST_F(BehindTest, RustThatCannotUnwindIsNotRefusedThroughTheInterpreter) {
  expect_in_child([this] {
    const uintptr_t rust = map_calls(folder_ / "orjson.abi3.so", rust_bytes(false));
    EXPECT_EQ(classify(rust), Caller::kAbortsOnObjects);
    EXPECT_EQ(ask_with_above(Caller::kInterpreter, rust), Caller::kAbortsOnObjects);
  });
}

TEST_F(BehindTest, RustThatUnwindsGetsItsNullFromTheInterpreter) {
  expect_in_child([this] {
    const uintptr_t rust = map_calls(folder_ / "pyo3.abi3.so", rust_bytes(true));
    EXPECT_EQ(classify(rust), Caller::kAborts);
    EXPECT_EQ(ask_with_above(Caller::kInterpreter, rust), Caller::kInterpreter);
  });
}

TEST_F(BehindTest, AnExtensionThatHandlesNullIsRefusedAsBefore) {
  expect_in_child([this] {
    const uintptr_t plain = map_calls(folder_ / "plain.abi3.so", "");
    EXPECT_EQ(classify(plain), Caller::kExtension);
    EXPECT_EQ(ask_with_above(Caller::kInterpreter, plain), Caller::kInterpreter);
    EXPECT_EQ(ask_with_above(Caller::kCxxRuntime, plain), Caller::kCxxRuntime);
  });
}

TEST_F(BehindTest, AModuleThatWasLoadedAfterTheTableWasMadeIsFound) {
  expect_in_child([this] {
    classify(1);
    usleep(20'000);
    const uintptr_t rust = map_calls(folder_ / "late.abi3.so", rust_bytes(false));
    EXPECT_EQ(classify_known(rust), Caller::kUnknown);
    EXPECT_EQ(ask_with_above(Caller::kInterpreter, rust), Caller::kAbortsOnObjects);
  });
}

TEST_F(BehindTest, AnAddressThatFollowsNoCallIsNoCaller) {
  expect_in_child([this] {
    // The right address must not stand in a variable: the search would find that on the stack.
    const uintptr_t beside = map_calls(folder_ / "data.abi3.so", rust_bytes(false)) + 1;
    classify(beside);
    EXPECT_EQ(ask_with_above(Caller::kInterpreter, beside), Caller::kInterpreter);
  });
}

TEST_F(BehindTest, WhatPythonCodeStandsBetweenIsAnsweredInPython) {
  expect_in_child([this] {
    const uintptr_t rust = map_calls(folder_ / "orjson.abi3.so", rust_bytes(false));
    classify(rust);
    const auto here = reinterpret_cast<uintptr_t>(&ask_with_above);
    // This program is the interpreter, and the frame that asks its loop.
    set_interpreter_loop(here, 256, nullptr);
    volatile uintptr_t above[2] = {rust, rust};
    EXPECT_EQ(ask_with_above(Caller::kInterpreter, here + 1), Caller::kInterpreter);
    EXPECT_EQ(above[0], rust);
  });
}

TEST_F(BehindTest, OperatorNewInAThreadThatPythonDoesNotKnowIsNotRefused) {
  expect_in_child([] {
    set_interpreter_loop(0, 0, []() -> void* { return nullptr; });
    EXPECT_EQ(ask(Caller::kCxxRuntime), Caller::kAborts);
    set_interpreter_loop(0, 0, []() -> void* { return environ; });
    EXPECT_EQ(ask(Caller::kCxxRuntime), Caller::kCxxRuntime);
  });
}

TEST_F(BehindTest, OperatorNewOnBehalfOfSomebodyWhoAbortsIsNotRefused) {
  expect_in_child([this] {
    const uintptr_t llvm = map_calls(folder_ / "libllvmlite.so", "");
    classify(llvm);
    EXPECT_EQ(ask_with_above(Caller::kCxxRuntime, llvm), Caller::kAborts);
  });
}

TEST_F(BehindTest, OthersAnswerForThemselves) {
  for (const Caller caller : {Caller::kUnknown, Caller::kExtension, Caller::kOther, Caller::kAborts,
                              Caller::kAbortsOnObjects}) {
    EXPECT_EQ(behind(caller, 1), caller);
  }
}

TEST_F(BehindTest, AReturnAddressThatIsNotOnTheStackIsNoHarm) {
  EXPECT_EQ(behind(Caller::kInterpreter, 1), Caller::kInterpreter);
  EXPECT_EQ(behind(Caller::kCxxRuntime, 1), Caller::kCxxRuntime);
}

}  // namespace
}  // namespace oomguard::budget

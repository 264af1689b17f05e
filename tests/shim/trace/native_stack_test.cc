#include "shim/trace/native_stack.h"

#include <dlfcn.h>
#include <errno.h>
#include <gtest/gtest.h>

#include <cstring>
#include <ostream>
#include <string>

#include "tests/shim/trace/shapes.h"
#include "tests/shim/trace/stacks.h"

namespace oomguard::trace {
namespace {

using test::expect_as_others;
using test::look_at;
using test::Seen;

struct Shape {
  const char* name;
  int (*function)(Leaf, void*);
};

void PrintTo(const Shape& shape, std::ostream* out) { *out << shape.name; }

class NativeStack : public testing::TestWithParam<Shape> {
 protected:
  void SetUp() override { prepare_native_stacks(OwnFrames::kShow); }
};

TEST_P(NativeStack, IsWhatOthersSay) {
  Seen first;
  GetParam().function(look_at, &first);
  expect_as_others(first, 4);
  Seen second;  // now from the cache
  GetParam().function(look_at, &second);
  expect_as_others(second, 4);
}

INSTANTIATE_TEST_SUITE_P(
    OfC, NativeStack,
    testing::Values(Shape{"plain", shape_plain}, Shape{"deep", shape_deep},
                    Shape{"busy_registers", shape_busy_registers},
                    Shape{"variable_array", shape_variable_array}, Shape{"aligned", shape_aligned},
                    Shape{"aligned_variable", shape_aligned_variable}, Shape{"large", shape_large},
                    Shape{"many_arguments", shape_many_arguments},
                    Shape{"variadic", shape_variadic}, Shape{"tail_call", shape_tail_call},
                    Shape{"from_libc", shape_from_libc}, Shape{"early_return", shape_early_return}),
    [](const auto& shape) { return std::string(shape.param.name); });
INSTANTIATE_TEST_SUITE_P(
    OfCxx, NativeStack,
    testing::Values(Shape{"virtual_function", shape_virtual}, Shape{"inlined", shape_inlined},
                    Shape{"function_object", shape_function_object},
                    Shape{"while_unwinding", shape_while_unwinding},
                    Shape{"in_handler", shape_in_handler}),
    [](const auto& shape) { return std::string(shape.param.name); });

class NativeStackEnds : public testing::Test {
 protected:
  void SetUp() override { prepare_native_stacks(OwnFrames::kShow); }
};

TEST_F(NativeStackEnds, WhereNothingIsSaidOfAFunction) {
  Seen seen;
  shape_without_description(look_at, &seen);
  // look(), look_at(), and the function that nothing is said of.
  EXPECT_EQ(seen.ours.size(), 3u);
}

TEST_F(NativeStackEnds, WhereTheCapacityEnds) {
  struct Asked {
    size_t capacity;
    size_t got;
    uintptr_t stack[200];
  } asked{};
  const auto read = [](void* data) {
    auto* of = static_cast<Asked*>(data);
    of->got = read_native_stack(of->stack, of->capacity);
    return 1;
  };
  for (const size_t capacity : {0, 1, 7}) {
    asked.capacity = capacity;
    memset(asked.stack, 0, sizeof asked.stack);
    shape_deep(read, &asked);
    EXPECT_EQ(asked.got, capacity);
    EXPECT_EQ(asked.stack[capacity], 0u);
  }
}

[[gnu::noinline]] size_t descend(uintptr_t* stack, size_t capacity, int depth) {
  if (depth == 0) return read_native_stack(stack, capacity);
  const size_t got = descend(stack, capacity, depth - 1);
  asm volatile("" : : : "memory");
  return got;
}

TEST_F(NativeStackEnds, AfterAsManyFramesAsItMayHave) {
  uintptr_t stack[200] = {};
  EXPECT_EQ(descend(stack, 200, 5000), kMaxNativeFrames);
  EXPECT_EQ(stack[kMaxNativeFrames], 0u);
}

TEST_F(NativeStackEnds, AndErrnoIsWhatItWas) {
  uintptr_t stack[kMaxNativeFrames];
  errno = 1234;
  read_native_stack(stack, kMaxNativeFrames);
  EXPECT_EQ(errno, 1234);
}

TEST_F(NativeStackEnds, OwnFramesAreLeftOut) {
  prepare_native_stacks(OwnFrames::kLeaveOut);
  Seen seen;
  shape_from_libc(look_at, &seen);
  prepare_native_stacks(OwnFrames::kShow);
  // "Own" is this program here: what is left begins in the library whose qsort called it.
  ASSERT_FALSE(seen.ours.empty());
  Dl_info first{};
  Dl_info own{};
  ASSERT_NE(dladdr(reinterpret_cast<void*>(seen.ours[0]), &first), 0);
  ASSERT_NE(dladdr(reinterpret_cast<void*>(&look_at), &own), 0);
  EXPECT_NE(first.dli_fbase, own.dli_fbase) << first.dli_fname;
  EXPECT_GT(seen.ours.size(), 3u);  // and goes on in this program
}

}  // namespace
}  // namespace oomguard::trace

#include "tests/shim/trace/stacks.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "shim/trace/native_stack.h"

#if defined(__SANITIZE_ADDRESS__)
// It follows thread-local pointers of modules that were loaded and unloaded, and crashes.
extern "C" [[gnu::visibility("default")]] int __lsan_is_turned_off() { return 1; }
#endif

namespace oomguard::trace::test {
namespace {

using Backtrace = int (*)(void**, int);

// Kept to itself: its _Unwind_* symbols must not serve this program's exceptions. (Its destructor
// of thread data comes after the thread sanitizer's.)
Backtrace libunwind_backtrace() {
#if defined(__SANITIZE_THREAD__)
  return nullptr;
#endif
  static const auto function = [] {
    void* library = dlopen("libunwind.so.8", RTLD_NOW | RTLD_LOCAL);
    return library != nullptr ? reinterpret_cast<Backtrace>(dlsym(library, "unw_backtrace"))
                              : nullptr;
  }();
  return function;
}

void expect_same(const Addresses& ours, Addresses theirs, const char* name) {
  SCOPED_TRACE(name);
  ASSERT_GE(ours.size(), 2u);
  const auto first = std::find(theirs.begin(), theirs.end(), ours[1]);
  ASSERT_NE(first, theirs.end()) << "they do not know look()'s caller";
  theirs.erase(theirs.begin(), first);
  while (!theirs.empty() && theirs.back() == 0) theirs.pop_back();
  ASSERT_EQ(ours.size() - 1, theirs.size());
  for (size_t i = 0; i < theirs.size(); ++i) {
    EXPECT_TRUE(ours[i + 1] == theirs[i] || ours[i + 1] == theirs[i] + 1)
        << "frame " << i << std::hex << ": " << ours[i + 1] << " is " << theirs[i];
  }
}

}  // namespace

[[gnu::noinline]] void look(Seen* out) {
  constexpr int kMost = static_cast<int>(kMaxNativeFrames);
  uintptr_t ours[kMaxNativeFrames];
  void* theirs[kMaxNativeFrames];
  const size_t count = read_native_stack(ours, kMaxNativeFrames);
  out->ours.assign(ours, ours + count);
  const auto* addresses = reinterpret_cast<const uintptr_t*>(theirs);
  int got = backtrace(theirs, kMost);
  out->libgcc.assign(addresses, addresses + got);
  if (const Backtrace reader = libunwind_backtrace(); reader != nullptr) {
    got = reader(theirs, kMost);
    out->libunwind.assign(addresses, addresses + got);
  }
}

int look_at(void* data) {
  look(static_cast<Seen*>(data));
  return 1;
}

void expect_as_others(const Seen& seen, size_t count) {
  EXPECT_GE(seen.ours.size(), count);
  expect_same(seen.ours, seen.libgcc, "backtrace(3)");
  if (!seen.libunwind.empty()) expect_same(seen.ours, seen.libunwind, "libunwind");
}

}  // namespace oomguard::trace::test

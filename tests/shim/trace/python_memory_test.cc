#include "shim/trace/python_memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstdint>

namespace oomguard::trace {
namespace {

constexpr size_t kPage = 4096;

// Two pages, the second of which is not readable; the same for every test, since a page that was
// met counts as readable from then on.
class TwoPages {
 public:
  TwoPages() {
    memory_ = static_cast<unsigned char*>(
        mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(memory_ + kPage, kPage, PROT_NONE);
  }
  unsigned char* end() { return memory_ + kPage; }
  uintptr_t end_address() { return reinterpret_cast<uintptr_t>(end()); }

 private:
  unsigned char* memory_;
} pages;

class PythonMemoryBothWays : public testing::TestWithParam<bool> {};

TEST_P(PythonMemoryBothWays, GivesWhatIsThere) {
  pages.end()[-3] = 7;
  PythonMemory memory(GetParam());
  const unsigned char* view = memory.view(pages.end_address() - 8, 8);
  ASSERT_NE(view, nullptr);
  EXPECT_EQ(view[5], 7);
  uint8_t value = 0;
  EXPECT_TRUE(memory.read(pages.end_address() - 3, &value));
  EXPECT_EQ(value, 7);
}

TEST_P(PythonMemoryBothWays, SurvivesWrongPointers) {
  PythonMemory memory(GetParam());
  EXPECT_EQ(memory.view(pages.end_address(), 8), nullptr);
  EXPECT_EQ(memory.view(pages.end_address() - 4, 8), nullptr);
  EXPECT_EQ(memory.view(pages.end_address() - 200, 256), nullptr);
  EXPECT_EQ(memory.view(0, 8), nullptr);
  EXPECT_EQ(memory.view(~uintptr_t{7}, 64), nullptr);
  EXPECT_EQ(memory.view(uintptr_t{0x8000} << 40, 8), nullptr);
  EXPECT_EQ(memory.view(pages.end_address() - 1024, PythonMemory::kMost + 1), nullptr);
  EXPECT_NE(memory.view(pages.end_address() - 256, 256), nullptr);
}

TEST_P(PythonMemoryBothWays, KeepsPiecesApart) {
  for (size_t i = 0; i < kPage; ++i) pages.end()[-1 - static_cast<long>(i)] = i % 251;
  PythonMemory memory(GetParam());
  for (size_t i = 8; i < kPage; i += 5) {
    uint8_t value = 0;
    ASSERT_TRUE(memory.read(pages.end_address() - 1 - i, &value));
    EXPECT_EQ(value, i % 251);
    const unsigned char* view = memory.view(pages.end_address() - 1 - i, 8);
    ASSERT_NE(view, nullptr);
    EXPECT_EQ(view[7], (i - 7) % 251);
  }
}

INSTANTIATE_TEST_SUITE_P(PythonMemory, PythonMemoryBothWays, testing::Bool(),
                         [](const auto& way) { return way.param ? "Guarded" : "Direct"; });

}  // namespace
}  // namespace oomguard::trace

// What sampling makes of calls under the hooks of malloc and mmap: this program is linked with
// them.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <vector>

#include "collector/record/append.h"
#include "shim/core/session.h"
#include "shim/trace/sampler.h"
#include "tests/shim/budget/harness.h"

namespace oomguard::trace {
namespace {

constexpr size_t kKiB = 1024;
constexpr size_t kMean = 512 * kKiB;
// A size that nothing can have, which the compiler must not see.
volatile size_t impossible = SIZE_MAX / 4;

template <typename Body>
void expect_sampled(Body body) {
  test::expect_in_child([&] {
    const test::Folder folder;
    session::start(folder.path().c_str(), 600 * budget::kMiB, 24 * budget::kMiB, -1, "");
    start(kMean);
    test::guard(test::budget_of(8 * test::kGiB));
    body();
  });
}

struct Sums {
  int64_t live_bytes = 0, live_blocks = 0, allocated_bytes = 0;
  bool operator==(const Sums&) const = default;
};

Sums sums() {
  Sums found;
  const record::View& view = session::view();
  for (uint32_t i = 0; i < record::claimed(view, record::Section::kSites); ++i) {
    found.live_bytes += view.sites[i].live_bytes;
    found.live_blocks += view.sites[i].live_blocks;
    found.allocated_bytes += view.sites[i].allocated_bytes;
  }
  return found;
}

TEST(SampledHooks, WhatMprotectAsksForDoesNotBiasTheBlocksBesideIt) {
  expect_sampled([] {
    constexpr int kPairs = 600'000;
    constexpr size_t kBlock = 4 * kKiB;
    constexpr size_t kRegion = 64 * kKiB;
    void* region =
        mmap(nullptr, kRegion, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(region, MAP_FAILED);
    const int64_t before = sums().allocated_bytes;
    for (int i = 0; i < kPairs; ++i) {
      void* volatile block = malloc(kBlock);
      free(block);
      ASSERT_EQ(mprotect(region, kRegion, PROT_READ | PROT_WRITE), 0);
    }
    const auto estimate = static_cast<double>(sums().allocated_bytes - before);
    // Within 5% mostly: the mean grows with the pace. Left due instead, samples came to 14 times that.
    EXPECT_NEAR(estimate / (kPairs * static_cast<double>(kBlock)), 1.0, 0.5);
  });
}

TEST(SampledHooks, ABlockWhoseReallocFailsIsStillHeld) {
  expect_sampled([] {
    std::vector<void*> blocks;
    blocks.reserve(3000);
    for (size_t i = 0; i < 2000; ++i) blocks.push_back(malloc(64 * kKiB));
    for (size_t i = 0; i < 20; ++i) blocks.push_back(malloc(3 * 1024 * kKiB));
    const Sums before = sums();
    ASSERT_GT(before.live_bytes, 20 * budget::kMiB);
    for (void* block : blocks) EXPECT_EQ(realloc(block, impossible), nullptr);
    EXPECT_EQ(sums(), before);
    for (void*& block : blocks) block = realloc(block, 0);  // given back
    EXPECT_LT(sums().live_bytes, before.live_bytes / 10);
  });
}

}  // namespace
}  // namespace oomguard::trace

#include "shim/trace/rule_cache.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace oomguard::trace {
namespace {

// One whose parts belong together.
Rule rule_of(uintptr_t address, uint32_t stamp) {
  Rule rule{};
  rule.stamp = stamp;
  rule.kind = RuleKind::kOffset;
  rule.offset = static_cast<int32_t>(address);
  for (int16_t& place : rule.places) place = static_cast<int16_t>(address ^ stamp);
  return rule;
}

bool is_whole(const Rule& rule, uintptr_t address, uint32_t stamp) {
  for (const int16_t place : rule.places) {
    if (place != static_cast<int16_t>(address ^ stamp)) return false;
  }
  return rule.offset == static_cast<int32_t>(address) && rule.stamp == stamp;
}

TEST(RuleCache, GivesBackWhatWasStored) {
  const auto cache = std::make_unique<RuleCache>();
  Rule out{};
  EXPECT_FALSE(cache->find(0x1000, 5, &out));
  cache->store(0x1000, rule_of(0x1000, 5));
  ASSERT_TRUE(cache->find(0x1000, 5, &out));
  EXPECT_TRUE(is_whole(out, 0x1000, 5));
}

TEST(RuleCache, AnotherModuleAtThePlaceHasItsOwn) {
  const auto cache = std::make_unique<RuleCache>();
  Rule out{};
  cache->store(0x1000, rule_of(0x1000, 5));
  EXPECT_FALSE(cache->find(0x1000, 6, &out));
  cache->store(0x1000, rule_of(0x1000, 6));
  EXPECT_TRUE(cache->find(0x1000, 6, &out));
  EXPECT_FALSE(cache->find(0x1000, 5, &out));
}

TEST(RuleCache, HoldsThousands) {
  const auto cache = std::make_unique<RuleCache>();
  for (uintptr_t i = 1; i <= 1000; ++i) cache->store(i * 37, rule_of(i * 37, 1));
  int found = 0;
  Rule out{};
  for (uintptr_t i = 1; i <= 1000; ++i) found += cache->find(i * 37, 1, &out) ? 1 : 0;
  EXPECT_GT(found, 900);
}

TEST(RuleCache, IsNeverReadHalf) {
  const auto cache = std::make_unique<RuleCache>();
  constexpr uintptr_t kAddresses = 8;
  std::atomic<int> torn{0};
  std::vector<std::thread> threads;
  for (uint32_t stamp = 1; stamp <= 2; ++stamp) {
    threads.emplace_back([&cache, &torn, stamp] {
      Rule out{};
      for (int i = 0; i < 200'000; ++i) {
        const uintptr_t address = 64 + static_cast<uintptr_t>(i) % kAddresses;
        if (cache->find(address, stamp, &out) && !is_whole(out, address, stamp)) torn.fetch_add(1);
        cache->store(address, rule_of(address, stamp));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(torn.load(), 0);
}

}  // namespace
}  // namespace oomguard::trace

#include "shim/trace/index.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace oomguard::trace {
namespace {

using SmallIndex = Index<64>;

TEST(IndexTest, FindsWhatItInserted) {
  auto index = std::make_unique<SmallIndex>();
  const auto any = [](uint32_t) { return true; };
  EXPECT_EQ(index->find_or_insert(mix(1), any, [] { return 11u; }), 11u);
  EXPECT_EQ(index->find_or_insert(mix(2), any, [] { return 12u; }), 12u);
  EXPECT_EQ(index->find_or_insert(mix(1), any, [] { return 13u; }), 11u);
}

TEST(IndexTest, EqualHashesOfDifferentThingsAreKeptApart) {
  auto index = std::make_unique<SmallIndex>();
  EXPECT_EQ(index->find_or_insert(5, [](uint32_t) { return false; }, [] { return 1u; }), 1u);
  EXPECT_EQ(index->find_or_insert(5, [](uint32_t n) { return n == 2; }, [] { return 2u; }), 2u);
  EXPECT_EQ(index->find_or_insert(5, [](uint32_t n) { return n == 2; }, [] { return 3u; }), 2u);
}

TEST(IndexTest, WhatFindsNoPlaceAmongTheFirstIsFoundAgainToo) {
  auto index = std::make_unique<SmallIndex>();
  const auto find = [&](uint32_t number, uint32_t otherwise) {
    return index->find_or_insert(5, [=](uint32_t n) { return n == number; },
                                 [=] { return otherwise; });
  };
  for (uint32_t number = 1; number <= 30; ++number) EXPECT_EQ(find(number, number), number);
  for (uint32_t number = 1; number <= 30; ++number) EXPECT_EQ(find(number, 99), number);
}

TEST(IndexTest, WhereTheresNoPlaceForTheThingNothingIsRemembered) {
  auto index = std::make_unique<SmallIndex>();
  const auto any = [](uint32_t) { return true; };
  EXPECT_EQ(index->find_or_insert(mix(1), any, [] { return 0u; }), 0u);
  EXPECT_EQ(index->find_or_insert(mix(1), any, [] { return 4u; }), 4u);
}

TEST(IndexTest, AFullIndexMakesItAnew) {
  auto index = std::make_unique<SmallIndex>();
  uint32_t next = 1;
  for (uint64_t i = 0; i < 2 * 64; ++i) {
    index->find_or_insert(i, [](uint32_t) { return false; }, [&] { return next++; });
  }
  EXPECT_EQ(index->find_or_insert(7, [](uint32_t) { return false; }, [] { return 1000u; }), 1000u);
}

TEST(IndexTest, ForgetsAllAtOnce) {
  auto index = std::make_unique<SmallIndex>();
  const auto any = [](uint32_t) { return true; };
  for (int round = 0; round < 600; ++round) {  // more often than there are generations
    EXPECT_EQ(index->find_or_insert(mix(1), any, [] { return 21u; }), 21u);
    index->forget_all();
    EXPECT_EQ(index->find_or_insert(mix(1), any, [] { return 22u; }), 22u);
    index->forget_all();
  }
}

TEST(IndexTest, ThreadsAgreeOnOneNumber) {
  for (int round = 0; round < 200; ++round) {
    auto index = std::make_unique<SmallIndex>();
    std::atomic<uint32_t> next{1};
    std::vector<uint32_t> got(4);
    std::vector<std::thread> threads;
    for (uint32_t& mine : got) {
      threads.emplace_back([&] {
        mine = index->find_or_insert(mix(9), [](uint32_t) { return true; }, [&] { return next++; });
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const uint32_t mine : got) EXPECT_EQ(mine, got[0]);
  }
}

}  // namespace
}  // namespace oomguard::trace

#include "shim/gpu/table.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace oomguard::gpu {
namespace {

Table::Entry entry(uint64_t key, int64_t bytes = 1) { return {key, bytes, 0, 0, 0, 0}; }

TEST(GpuTable, FindsWhatWasPutInUntilItIsTakenOut) {
  Table table;
  Table::Entry found;
  EXPECT_FALSE(table.find(0x1000, &found));
  ASSERT_TRUE(table.put({0x1000, 42, 7, 3, 2, 99}));
  ASSERT_TRUE(table.find(0x1000, &found));
  EXPECT_EQ(found.bytes, 42);
  EXPECT_EQ(found.counts, 7u);
  EXPECT_EQ(found.device, 3);
  EXPECT_EQ(found.account, 2);
  EXPECT_EQ(found.context, 99u);
  ASSERT_TRUE(table.take(0x1000, &found));
  EXPECT_EQ(found.bytes, 42);
  EXPECT_FALSE(table.take(0x1000, &found));
}

TEST(GpuTable, NullIsNeverKnown) {
  Table table;
  Table::Entry found;
  ASSERT_TRUE(table.put(entry(0x1000)));
  EXPECT_FALSE(table.find(0, &found));
  EXPECT_FALSE(table.take(1, &found));
}

TEST(GpuTable, HoldsManyMoreThanItsFirstPartHasRoomFor) {
  Table table;
  constexpr uint64_t kMany = 200'000;
  for (uint64_t i = 1; i <= kMany; ++i)
    ASSERT_TRUE(table.put(entry(i * 512, static_cast<int64_t>(i)))) << i;
  Table::Entry found;
  for (uint64_t i = 1; i <= kMany; ++i) {
    ASSERT_TRUE(table.take(i * 512, &found)) << i;
    ASSERT_EQ(found.bytes, static_cast<int64_t>(i));
  }
  int left = 0;
  table.for_each([&left](const Table::Entry&) { ++left; });
  EXPECT_EQ(left, 0);
}

TEST(GpuTable, CountsAndSizesChangeInPlace) {
  Table table;
  ASSERT_TRUE(table.put({0x2000, 10, 1, 0, 0, 0}));
  uint32_t now = 0;
  EXPECT_TRUE(table.add(0x2000, 2, &now));
  EXPECT_EQ(now, 3u);
  EXPECT_TRUE(table.add(0x2000, 0u - 3u, &now));
  EXPECT_EQ(now, 0u);
  EXPECT_FALSE(table.change_bytes(0x2000, 11, 20));
  EXPECT_TRUE(table.change_bytes(0x2000, 10, 20));
  EXPECT_FALSE(table.add(0x3000, 1, &now));
}

TEST(GpuTable, SweepTakesOutTheWantedOnes) {
  Table table;
  for (uint64_t i = 1; i <= 100; ++i) ASSERT_TRUE(table.put({i * 512, 1, 0, 0, 0, i % 2}));
  int taken = 0;
  table.sweep([](const Table::Entry& e) { return e.context == 1; },
              [&taken](const Table::Entry&) { ++taken; });
  EXPECT_EQ(taken, 50);
  int left = 0;
  table.for_each([&left](const Table::Entry& e) { left += e.context == 0 ? 1 : 100; });
  EXPECT_EQ(left, 50);
}

TEST(GpuTable, AnAddMeetsNoOtherEntryInTheSamePlace) {
  Table table;
  const auto place = [](uint64_t key) { return (key * 0x9e3779b97f4a7c15u) >> 54; };
  uint64_t other = 0x1008;
  while (place(other) != place(0x1000)) other += 8;
  std::atomic<bool> ends{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&] {
      uint32_t now = 0;
      while (!ends) (void)table.add(0x1000, 1, &now);
    });
  }
  int wrong = 0;
  Table::Entry found;
  for (int i = 0; i < 300'000; ++i) {
    if (!table.put(entry(0x1000)) || !table.take(0x1000, &found)) ++wrong;
    if (!table.put({other, 1, 5, 0, 0, 0})) ++wrong;
    if (!table.take(other, &found) || found.counts != 5) ++wrong;
  }
  ends = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(GpuTable, ThreadsLoseNothing) {
  Table table;
  constexpr int kThreads = 8;
  constexpr uint64_t kEach = 2000;
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      Table::Entry found;
      for (uint64_t i = 1; i <= kEach; ++i) {
        const uint64_t key = (i * kThreads + static_cast<uint64_t>(t)) * 512;
        const auto bytes = static_cast<int64_t>(key);
        if (!table.put(entry(key, bytes))) ++wrong;
        if (i % 3 != 0 && (!table.take(key, &found) || found.bytes != bytes)) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  uint64_t left = 0;
  table.for_each([&left](const Table::Entry&) { ++left; });
  EXPECT_EQ(left, kEach / 3 * kThreads);
}

}  // namespace
}  // namespace oomguard::gpu

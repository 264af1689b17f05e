#include "collector/probe/memory_view.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <sstream>
#include <string>

namespace oomguard::probe {
namespace {

constexpr Bytes kMiB = 1024 * 1024;
constexpr Bytes kGiB = 1024 * kMiB;
constexpr Bytes kMachine = 24 * kGiB;

Level level(LimitKind kind, Bytes limit, Bytes usage, Bytes reclaimable = 0, Bytes swap_room = 0,
            Bytes swap_used = 0) {
  return {kind, false, limit, usage, reclaimable, swap_room, kNoPath, swap_used};
}

Reading reading(std::initializer_list<Level> levels) {
  Reading result;
  for (const Level& one : levels) result.levels[result.level_count++] = one;
  return result;
}

const Level kHost = level(LimitKind::kMachine, kMachine, 2 * kGiB);

MemoryView view(const Reading& seen, Bytes kept = 100 * kMiB, uint32_t share = 500) {
  MemoryView out;
  EXPECT_TRUE(view_of(seen, kMachine, kept, share, &out));
  return out;
}

TEST(View, IsTheKernelsOwnWithoutALimitBelowTheMachine) {
  MemoryView out;
  EXPECT_FALSE(view_of(reading({}), kMachine, 0, 500, &out));
  EXPECT_FALSE(view_of(reading({kHost}), kMachine, 0, 500, &out));
  EXPECT_FALSE(view_of(reading({level(LimitKind::kCgroupV2, kMachine, 0), kHost}), kMachine, 0, 500, &out));
}

TEST(View, IsTheLeastLimitAndWhatMayStillBeAskedFor) {
  const MemoryView seen = view(reading({level(LimitKind::kCgroupV2, 6 * kGiB, 3 * kGiB, 2 * kGiB),
                                        level(LimitKind::kCgroupV2, 8 * kGiB, 4 * kGiB), kHost}));
  EXPECT_EQ(seen.total, 6 * kGiB);
  EXPECT_EQ(seen.available, 4 * kGiB - 100 * kMiB) << "the outer group has less room";
  EXPECT_EQ(seen.in_use(), 6 * kGiB - seen.available);
}

TEST(View, FreeIsWithoutFileCache) {
  const MemoryView seen =
      view(reading({level(LimitKind::kCgroupV1, 6 * kGiB, 3 * kGiB, 2 * kGiB), kHost}));
  EXPECT_EQ(seen.available, 5 * kGiB - 100 * kMiB);
  EXPECT_EQ(seen.free, 3 * kGiB - 100 * kMiB);
}

TEST(View, AddressSpaceLimitsWhatIsAvailableAndNotWhatThereIs) {
  const MemoryView seen = view(reading({level(LimitKind::kRlimitAs, 4 * kGiB, kGiB), kHost}));
  EXPECT_EQ(seen.total, kMachine);
  EXPECT_EQ(seen.available, 3 * kGiB - 100 * kMiB);
}

TEST(View, AFullLimitLeavesAPage) {
  const MemoryView seen =
      view(reading({level(LimitKind::kBudget, kGiB, 2 * kGiB, 0, kGiB, 0), kHost}), 100 * kMiB, 0);
  EXPECT_EQ(seen.available, 4096);
  EXPECT_EQ(seen.free, 4096);
  EXPECT_EQ(seen.swap_free, 0);
}

TEST(View, AvailableAndSwapTogetherAreWhatMayBeAskedFor) {
  const Reading seen = reading({level(LimitKind::kCgroupV2, 6 * kGiB, 5 * kGiB, 0, 2 * kGiB), kHost});
  EXPECT_EQ(view(seen).available + view(seen).swap_free, headroom(seen, 500).bytes - 100 * kMiB);
  EXPECT_EQ(view(seen, 2 * kGiB).swap_free, 0) << "what is kept takes of the swap, too";
  EXPECT_EQ(view(seen, 0, 0).swap_free, 0);
  const Reading swapped =
      reading({level(LimitKind::kCgroupV2, 6 * kGiB, 5 * kGiB, 0, kGiB, 512 * kMiB), kHost});
  EXPECT_EQ(view(swapped, 0, 1000).swap_total, 1536 * kMiB);
}

// Of a machine with 24 GiB and much of each kind.
constexpr char kText[] =
    "MemTotal:       24731708 kB\nMemFree:        10657256 kB\nMemAvailable:   20506100 kB\n"
    "Buffers:          126796 kB\nCached:          8802740 kB\nSwapCached:           12 kB\n"
    "Active:         12545260 kB\nInactive:        2885192 kB\nActive(anon):   11001080 kB\n"
    "Shmem:              8876 kB\nSwapTotal:       4194300 kB\nSwapFree:        4194300 kB\n"
    "AnonPages:      11516256 kB\nSReclaimable:    334016 kB\nVmallocTotal:   34359738367 kB\n"
    "HugePages_Total:       7\nHugepagesize:       2048 kB\nDirectMap1G:    25165824 kB\n";

std::map<std::string, Bytes> fields(const std::string& text) {
  std::map<std::string, Bytes> result;
  std::istringstream lines(text);
  std::string key;
  Bytes value;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream(line) >> key >> value;
    result[key] = value;
  }
  return result;
}

std::string lowered(std::string text, const MemoryView& seen) {
  lower_meminfo(text.data(), text.size(), seen);
  return text;
}

MemoryView of(Bytes total, Bytes available, Bytes free) { return {total, available, free, 0, 0}; }

TEST(Text, HasTheViewsNumbersInTheKernelsForm) {
  const std::string text = lowered(kText, of(6 * kGiB, 5 * kGiB, 105 * kMiB));
  EXPECT_EQ(text.size(), sizeof kText - 1);
  EXPECT_NE(text.find("MemTotal:        6291456 kB\nMemFree:          107520 kB\n"), std::string::npos) << text;
  EXPECT_NE(text.find("SwapFree:              0 kB\n"), std::string::npos) << text;
  EXPECT_NE(text.find("Shmem:              8876 kB\n"), std::string::npos) << text;
  EXPECT_NE(text.find("HugePages_Total:       7\nHugepagesize:       2048 kB\nDirectMap1G:"),
            std::string::npos);
}

TEST(Text, IsCoherentAndNeverMoreThanTheKernels) {
  const auto kernels = fields(kText);
  std::minstd_rand random(1);
  for (int i = 0; i < 2000; ++i) {
    const Bytes total = static_cast<Bytes>(random()) % (30 * 1024) * kMiB + 16 * kMiB;
    const Bytes available = 4096 + static_cast<Bytes>(random()) * 4096 % (total - 4096);
    const Bytes free = 4096 + static_cast<Bytes>(random()) * 4096 % available;
    auto seen = fields(lowered(kText, of(total, available, std::min(free, available))));
    for (const auto& [key, value] : kernels) EXPECT_LE(seen[key], value) << key;
    EXPECT_LE(seen["MemAvailable:"], seen["MemTotal:"]);
    EXPECT_GT(seen["MemAvailable:"], 0);
    EXPECT_LE(seen["MemFree:"] + seen["Cached:"], seen["MemAvailable:"]);
    EXPECT_LE(seen["Active:"], seen["MemTotal:"]);
    EXPECT_LE(seen["Shmem:"], seen["MemTotal:"]);
    // free(1) of procps 3 calls this used.
    EXPECT_GE(seen["MemTotal:"] - seen["MemFree:"] - seen["Cached:"] - seen["Buffers:"] - seen["SReclaimable:"], 0);
  }
}

TEST(Text, StaysWhereTheKernelSaysLess) {
  const MemoryView more = {64 * kGiB, 63 * kGiB, 62 * kGiB, 8 * kGiB, 8 * kGiB};
  const std::string text = lowered(kText, more);
  EXPECT_EQ(fields(text)["MemTotal:"], 24731708);
  EXPECT_EQ(fields(text)["MemAvailable:"], 20506100);
  EXPECT_EQ(fields(text)["SwapFree:"], 4194300);
}

TEST(Text, OfAnyOtherFormStays) {
  for (const char* text :
       {"", "\n", "MemTotal:", "MemTotal: 9", "MemTotal: 12", "MemTotal: 99999999\n", "MemTotal: 99999 MB\n",
        "MemTotal:99999999 kB\n", " MemTotal: 99999999 kB\n", "XMemTotal: 99999999 kB\n", "MemTotal: kB\n",
        "MemTotal: -9999999 kB\n", "MemTotal: 99999999 kB \n"}) {
    EXPECT_EQ(lowered(text, of(kMiB, kMiB, kMiB)), text);
  }
  EXPECT_EQ(lowered("MemTotal: 99999999999999999999 kB\n", of(kMiB, kMiB, kMiB)),
            "MemTotal:                 1024 kB\n");
  EXPECT_EQ(lowered("MemFree: 9 kB\nCached: 00 kB", of(kMiB, 4096, 0)), "MemFree: 0 kB\nCached: 00 kB");
}

}  // namespace
}  // namespace oomguard::probe

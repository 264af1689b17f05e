// The timeline of a flight file: how memory moved, finely for the last minutes and coarsely for a
// week.
//
// Four rings in one section (kRings). The first holds the newest looks of the watchdog, however
// close together; each of the others one sample for each of its periods: the worst of what it
// stands for, that is the one with the least headroom. A sample goes into a coarse ring when its
// period has ended; until then the finer rings have it.
//
// SampleRecord::sequence is 0 while a record is empty or being written, else the 1-based number of
// the sample in its ring (stored last with release order); its slot is (sequence - 1) % count.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace oomguard::record {

struct View;

// Bytes; what is not known is -1, no limit INT64_MAX. They are of the limit that binds, unless
// said.
struct Sample {
  int64_t at_monotonic_ns;
  int64_t needed_bytes;            // usage - reclaimable
  int64_t reclaimable_bytes;
  int64_t limit_bytes;
  int64_t headroom_bytes;          // limit - needed, and the swap that counts as room
  int64_t own_anonymous_bytes;     // this process: what it holds and could not be evicted
  int64_t pending_bytes;           // requests of this process that were being decided
  int64_t in_flight_bytes;         // of this process: granted lately and not touched yet
  int64_t spill_bytes;             // this process: lent to its file on the disk
  int64_t live_sampled_bytes;      // this process: estimate over all sites
  uint64_t refusals;               // so far
};

struct SampleRecord {
  std::atomic<uint64_t> sequence;
  Sample sample;
};

struct Ring {
  int64_t period_ns;               // 0: every look
  uint32_t first;                  // index of its first record in the section
  uint32_t count;
};
inline constexpr int64_t kSecondNs = 1'000'000'000;
inline constexpr Ring kRings[] = {{0, 0, 256},
                                  {1 * kSecondNs, 256, 1024},          // 17 minutes
                                  {16 * kSecondNs, 1280, 2048},        // 9 hours
                                  {256 * kSecondNs, 3328, 2400}};      // a week
inline constexpr uint32_t kRingCount = 4;
inline constexpr uint32_t kTimelineSamples = 3328 + 2400;

// Writes samples into the rings of one file.
// One thread's (the raw thread's). Callable from a hook: no; from the raw thread: yes.
class Timeline {
 public:
  // Whether these bytes of the file may be written to now (a page that is not in memory costs one).
  using MayWrite = bool (*)(const void* address, size_t size);

  // Where `may_write` says no, a sample is left out of the finest ring, and a coarse ring gets it
  // later, with what came since. Does nothing to a view without a timeline.
  void add(const View& view, const Sample& sample, MayWrite may_write);

 private:
  struct Period {
    int64_t number = 0;            // 0: nothing is in it
    Sample worst{};
  };

  uint64_t written_[kRingCount] = {};
  Period periods_[kRingCount] = {};
};

static_assert(sizeof(SampleRecord) == 96);
static_assert(kRings[3].first + kRings[3].count == kTimelineSamples);

}  // namespace oomguard::record

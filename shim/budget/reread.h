// Are a mapped file's pages read, evicted and read again? Sampled pages say it directly: each was
// there, was gone, and came back. A single pass brings none back, however large the file is.
// Plain state of one thread, no files. Callable from the raw thread: yes.
#pragma once

#include <cstdint>

namespace oomguard::budget {

// 64 pages of one mapping.
class SampledPages {
 public:
  // `present`: one bit for each page. True where something changed.
  constexpr bool look(uint64_t present) {
    gone_ |= seen_ & ~present;
    back_ |= gone_ & present;
    seen_ |= present;
    const bool changed = present != now_;
    now_ = present;
    return changed;
  }
  constexpr int back() const { return __builtin_popcountll(back_); }

 private:
  uint64_t now_ = 0;
  uint64_t seen_ = 0;
  uint64_t gone_ = 0;
  uint64_t back_ = 0;
};

// What happened since somebody began to watch.
struct Rereading {
  int most_back = 0;  // of the 64 pages of one file
  int64_t read_again_bytes = -1;  // by everybody on the limit; -1: this kernel does not tell
  uint64_t major_faults = 0;      // of this process
  int64_t ns = 0;
};

inline constexpr int kEnoughBack = 8;  // an eighth of a file
inline constexpr int64_t kLongEnoughNs = 2'000'000'000;
inline constexpr int64_t kRereadBytesPerSecond = 4 << 20;
inline constexpr uint64_t kMajorFaultsPerSecond = 50;  // a slow disk, read page by page

// It is worth a warning: much of a file came back, and the disk was read for it at a pace that is
// felt.
constexpr bool is_rereading(const Rereading& seen) {
  if (seen.most_back < kEnoughBack || seen.ns < kLongEnoughNs) return false;
  const int64_t ms = seen.ns / 1'000'000 + 1;
  const bool many_faults =
      seen.major_faults * 1000 / static_cast<uint64_t>(ms) >= kMajorFaultsPerSecond;
  // Where refaults are not told, reading ahead hides most of the faults: any number of them counts.
  if (seen.read_again_bytes < 0) return seen.major_faults >= kEnoughBack;
  return many_faults || seen.read_again_bytes / ms * 1000 >= kRereadBytesPerSecond;
}

}  // namespace oomguard::budget
